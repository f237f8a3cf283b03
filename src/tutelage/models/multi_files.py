"""Networks with a head a task on disk. See tutelage.models.files."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.models.detectors import DetectorSpec
from tutelage.models.files import count_parameters, read_weights, write_weights
from tutelage.models.multi import MultiNet, MultiSpec
from tutelage.types import BadInput

_TASK = "several tasks"


@dataclass(frozen=True, kw_only=True)
class MultiCard:
    """What the file of such a network says of itself."""

    spec: MultiSpec
    classes: list[str]
    method: str
    sha256: str  # of the file
    parameters: int

    @property
    def image_size(self) -> int:
        return self.spec.detector.image_size


def save_multi(path: Path, net: MultiNet, *, classes: list[str], method: str) -> None:
    """As files.save_model."""
    write_weights(path, net, {"classes": classes, "method": method, "spec": asdict(net.spec), "task": _TASK})


def load_multi(path: Path) -> tuple[MultiNet, MultiCard]:
    """The network in eval mode, and its card. Raises BadInput for anything but a file that save_multi wrote."""
    about, weights, digest = read_weights(path)
    if about.get("task") != _TASK:
        raise BadInput(f"{path} is a model for {about.get('task', 'classification')}, and one for {_TASK} is needed")
    net = MultiNet(_spec(about["spec"]), len(about["classes"]), download=False)
    net.load_state_dict(weights)
    card = MultiCard(
        spec=net.spec, classes=about["classes"], method=about["method"], sha256=digest,
        parameters=count_parameters(net),
    )  # fmt: skip
    return net.eval(), card


def _spec(fields: dict[str, Any]) -> MultiSpec:
    shared = fields["detector"]
    detector = DetectorSpec(**shared | {"levels": tuple(shared["levels"])})  # JSON knows no tuples
    return MultiSpec(**fields | {"tasks": tuple(fields["tasks"]), "detector": detector})
