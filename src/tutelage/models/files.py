"""Weights on disk: safetensors, with what is needed to use them in the metadata."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tutelage.models.backbone import Backbone, NetworkSpec, create
from tutelage.models.committee import Committee, members_of
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.models.grown import Layer
from tutelage.models.translators import Translator
from tutelage.types import BadInput, Detector, Network

Loaded = TypeVar("Loaded", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class About:
    """What every file of weights says of itself."""

    classes: list[str]
    method: str
    sha256: str  # of the file
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Card(About):
    """What a model file says of itself."""

    spec: NetworkSpec  # of a committee, its first member's
    members: int = 1  # how many networks it is made of

    @property
    def image_size(self) -> int:
        return self.spec.image_size


@dataclass(frozen=True, kw_only=True)
class DetectorCard(About):
    """What a detector's file says of itself."""

    spec: DetectorSpec

    @property
    def image_size(self) -> int:
        return self.spec.image_size


def save_model(path: Path, net: Backbone, *, classes: list[str], method: str) -> None:
    """Equal weights are equal bytes: no date, no host, sorted metadata. Raises BadInput where not each answer has a
    name of its own."""
    check_names(path, classes, net.net.num_classes)
    write_weights(path, net, {"classes": classes, "method": method, "spec": asdict(net.spec)})


def save_committee(path: Path, members: Sequence[Backbone], *, classes: list[str], method: str) -> None:
    """As save_model, for several networks that are one teacher. Raises BadInput where they see images of two sizes."""
    if len(sizes := {member.spec.image_size for member in members}) > 1:
        raise BadInput(f"members of a committee see images of {sorted(sizes)} pixels. Take networks of one image_size")
    for member in members:
        check_names(path, classes, member.net.num_classes)
    specs = [asdict(member.spec) for member in members]
    write_weights(path, Committee(members), {"classes": classes, "method": method, "members": specs})


def load_model(path: Path) -> tuple[Network, Card]:
    """The network in eval mode, and its card. Raises BadInput for what save_model or save_committee did not write."""
    net, about = load_net(path, "classification", _make)
    members = [cast(Backbone, member) for member in members_of(net)]
    return net, Card(spec=members[0].spec, members=len(members), **about)


def _make(about: dict[str, Any], classes: int) -> Network:
    specs = about["members"] if "members" in about else [about["spec"]]
    members = [create(read_spec(spec), classes, download=False) for spec in specs]
    return Committee(members) if "members" in about else members[0]


def read_spec(written: dict[str, Any]) -> NetworkSpec:
    """What asdict and JSON made of a spec, as a spec again: JSON knows no tuples."""
    return NetworkSpec(**written | {"added": tuple(Layer(*one) for one in written.get("added", ()))})


def save_detector(path: Path, net: Detector, *, classes: list[str], method: str) -> None:
    """As save_model, of what create_detector made. Raises BadInput, too, where `net` does not have its `spec`."""
    spec = net.spec
    if not isinstance(spec, DetectorSpec):
        raise BadInput(f"{type(net).__name__} says nothing of how to make it again. Save what create_detector made")
    check_names(path, classes, net.classes)
    write_weights(path, net, {"classes": classes, "method": method, "spec": asdict(spec), "task": "detection"})


def load_detector(path: Path) -> tuple[Detector, DetectorCard]:
    """The detector in eval mode, and its card. Raises BadInput for anything but a file that save_detector wrote."""
    net, about = load_net(
        path, "detection",
        lambda about, classes: create_detector(read_detector_spec(about["spec"]), classes, download=False),
    )  # fmt: skip
    assert isinstance(net.spec, DetectorSpec)
    return net, DetectorCard(spec=net.spec, **about)


def read_detector_spec(written: dict[str, Any]) -> DetectorSpec:
    """As read_spec."""
    return DetectorSpec(**written | {"levels": tuple(written["levels"])})


def load_net(path: Path, task: str, make: Callable[[dict[str, Any], int], Loaded]) -> tuple[Loaded, dict[str, Any]]:
    """A network in eval mode, and what its card has beside its spec: classes, method, sha256, parameters.

    `make` builds it from what the file says of itself and the number of classes. Raises BadInput where the file is not
    one for `task`.
    """
    net, about, digest = read_net(path, task, lambda about: make(about, len(about["classes"])))
    with made_again(path):
        told = {"classes": about["classes"], "method": about["method"]}
    return net, told | {"sha256": digest, "parameters": count_parameters(net)}


def read_net(path: Path, task: str, make: Callable[[dict[str, Any]], Loaded]) -> tuple[Loaded, dict[str, Any], str]:
    """As load_net, also where answers have no names: with all that the file says of itself, and its sha256."""
    about, weights, digest = read_weights(path)
    found = about.get("task", "classification")
    if found != task:
        raise BadInput(f"{path} is a model for {found}, and one for {task} is needed here")
    with made_again(path):
        net = make(about)
        net.load_state_dict(weights)
    return net.eval(), about, digest


def save_translator(path: Path, net: Translator) -> None:
    """As save_model, for a generator of images."""
    write_weights(path, net, {"task": "translation", "width": net.width, "blocks": net.blocks})


def load_translator(path: Path) -> Translator:
    """The generator in eval mode. Raises BadInput for anything but a file that save_translator wrote."""
    return read_net(path, "translation", lambda about: Translator(width=about["width"], blocks=about["blocks"]))[0]


def check_names(path: Path, classes: list[str], answers: int) -> None:
    """Raises BadInput where a file with these names could not be read again, or not be told apart."""
    if len(classes) != answers:
        raise BadInput(f"{path} would name {len(classes)} classes for {answers} answers. Give one name for each")
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise BadInput(f"{path} would name several classes {', '.join(twice)}. Give each a name of its own")


@contextmanager
def made_again(path: Path) -> Iterator[None]:
    """Around what makes a network of a file: BadInput where what the file says of itself is not what it holds."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        said = shorten(str(error), 300)  # it may list every tensor
        raise BadInput(
            f"{path} does not hold the network that its metadata names ({type(error).__name__}: {said}). Run its stage "
            "again, or use the version that wrote it"
        ) from error


def write_weights(path: Path, net: nn.Module, about: dict[str, Any]) -> None:
    """What every kind of model file is: weights, and `about` as JSON. Equal ones are equal bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    path.write_bytes(save(tensors, metadata={"tutelage": json.dumps(about, sort_keys=True)}))


def kind_of(path: Path) -> str:
    """What the model in the file is for: "classification", "detection", "several tasks" and the like. No weight is
    loaded. Raises BadInput for what was not written here."""
    return str(_read_about(path).get("task", "classification"))


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """What the file says of itself, its weights, and its sha256. Raises BadInput for what was not written here."""
    about = _read_about(path)
    return about, load_file(path), hashlib.sha256(path.read_bytes()).hexdigest()


def _read_about(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise BadInput(f"{path} does not exist. `dvc repro` trains it, `dvc pull` fetches it")
    if path.is_dir():
        raise BadInput(f"{path} is a folder. Name the file of weights in it")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        about = json.loads(metadata["tutelage"])
        if not isinstance(about, dict):
            raise TypeError(f"{about!r} is no mapping")
    except KeyError as error:
        raise BadInput(f"{path} has no tutelage metadata: only models trained here can be loaded") from error
    except (json.JSONDecodeError, TypeError) as error:
        raise BadInput(f"{path} has tutelage metadata that cannot be read ({error}). Run its stage again") from error
    except SafetensorError as error:
        raise BadInput(f"{path} is not a whole safetensors file ({error}). Run its stage again") from error
    return about


def count_parameters(net: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(p.numel() for p in net.parameters())
