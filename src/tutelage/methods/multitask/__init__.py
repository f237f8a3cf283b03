"""All methods of several tasks at once, by the name they have in params.yaml. This table is the only registry."""

from tutelage.methods.multitask.aht_regression import AHTRegression
from tutelage.methods.multitask.ail_regression import AILRegression
from tutelage.methods.multitask.cakd_regression import CAKDRegression
from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.mic import MIC
from tutelage.methods.multitask.must import MuST
from tutelage.methods.multitask.teacher_bounded_regression import TeacherBoundedRegression
from tutelage.methods.multitask.tor_regression import TORRegression

__all__ = ["MULTITASK_METHODS", "MultiMethod"]

MULTITASK_METHODS: dict[str, type[MultiMethod]] = {
    "aht_regression": AHTRegression,
    "ail_regression": AILRegression,
    "cakd_regression": CAKDRegression,
    "mic": MIC,
    "must": MuST,
    "teacher_bounded_regression": TeacherBoundedRegression,
    "tor_regression": TORRegression,
}
