"""All methods of several tasks at once, by the name they have in params.yaml. This table is the only registry."""

from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.mic import MIC
from tutelage.methods.multitask.must import MuST

__all__ = ["MULTITASK_METHODS", "MultiMethod"]

MULTITASK_METHODS: dict[str, type[MultiMethod]] = {
    "mic": MIC,
    "must": MuST,
}
