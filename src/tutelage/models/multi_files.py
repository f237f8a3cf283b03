"""Networks with a head a task on disk. See tutelage.models.files."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.models.files import About, check_names, load_net, read_detector_spec, write_weights
from tutelage.models.multi import MultiNet
from tutelage.models.multi_spec import MultiSpec

_TASK = "several tasks"


@dataclass(frozen=True, kw_only=True)
class MultiCard(About):
    """What the file of such a network says of itself."""

    spec: MultiSpec

    @property
    def image_size(self) -> int:
        return self.spec.detector.image_size


def save_multi(path: Path, net: MultiNet, *, classes: list[str], method: str) -> None:
    """As files.save_model."""
    check_names(path, classes, net.classes)
    write_weights(path, net, {"classes": classes, "method": method, "spec": asdict(net.spec), "task": _TASK})


def load_multi(path: Path) -> tuple[MultiNet, MultiCard]:
    """The network in eval mode, and its card. Raises BadInput for anything but a file that save_multi wrote."""
    net, about = load_net(
        path, _TASK, lambda about, classes: MultiNet(_spec(about["spec"]), classes, download=False)
    )  # fmt: skip
    return net, MultiCard(spec=net.spec, **about)


def _spec(fields: dict[str, Any]) -> MultiSpec:
    detector = read_detector_spec(fields["detector"])
    return MultiSpec(**fields | {"tasks": tuple(fields["tasks"]), "detector": detector})
