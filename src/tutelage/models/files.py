"""Weights on disk: safetensors, with what is needed to use them in the metadata."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tutelage.models.backbone import Backbone, NetworkSpec, create
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.models.translators import Translator
from tutelage.types import BadInput, Detector, Network


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model file says of itself."""

    spec: NetworkSpec
    classes: list[str]
    method: str
    sha256: str  # of the file
    parameters: int

    @property
    def image_size(self) -> int:
        return self.spec.image_size


@dataclass(frozen=True, kw_only=True)
class DetectorCard:
    """What a detector's file says of itself."""

    spec: DetectorSpec
    classes: list[str]
    method: str
    sha256: str  # of the file
    parameters: int

    @property
    def image_size(self) -> int:
        return self.spec.image_size


def save_model(path: Path, net: Backbone, *, classes: list[str], method: str) -> None:
    """Equal weights are equal bytes: no date, no host, sorted metadata."""
    write_weights(path, net, {"classes": classes, "method": method, "spec": asdict(net.spec)})


def load_model(path: Path) -> tuple[Network, Card]:
    """The network in eval mode, and its card. Raises BadInput for anything but a file that save_model wrote."""
    about, weights, digest = read_weights(path)
    if "task" in about:
        raise BadInput(f"{path} is a model for {about['task']}, and a classifier is needed here")
    spec = NetworkSpec(**about["spec"])
    net = create(spec, len(about["classes"]), download=False)
    net.load_state_dict(weights)
    card = Card(
        spec=spec, classes=about["classes"], method=about["method"], sha256=digest, parameters=count_parameters(net)
    )  # fmt: skip
    return net.eval(), card


def save_detector(path: Path, net: Detector, *, classes: list[str], method: str) -> None:
    """As save_model; `net` has the `spec` that create_detector made it from."""
    spec = net.spec
    if not isinstance(spec, DetectorSpec):
        raise BadInput(f"{type(net).__name__} says nothing of how to make it again. Save what create_detector made")
    write_weights(path, net, {"classes": classes, "method": method, "spec": asdict(spec), "task": "detection"})


def load_detector(path: Path) -> tuple[Detector, DetectorCard]:
    """The detector in eval mode, and its card. Raises BadInput for anything but a file that save_detector wrote."""
    about, weights, digest = read_weights(path)
    if about.get("task") != "detection":
        raise BadInput(f"{path} is a model for {about.get('task', 'classification')}, and a detector is needed here")
    spec = DetectorSpec(**about["spec"] | {"levels": tuple(about["spec"]["levels"])})  # JSON knows no tuples
    net = create_detector(spec, len(about["classes"]), download=False)
    net.load_state_dict(weights)
    card = DetectorCard(
        spec=spec, classes=about["classes"], method=about["method"], sha256=digest, parameters=count_parameters(net)
    )  # fmt: skip
    return net.eval(), card


def save_translator(path: Path, net: Translator) -> None:
    """As save_model, for a generator of images."""
    write_weights(path, net, {"task": "translation", "width": net.width, "blocks": net.blocks})


def load_translator(path: Path) -> Translator:
    """The generator in eval mode. Raises BadInput for anything but a file that save_translator wrote."""
    about, weights, _ = read_weights(path)
    if about.get("task") != "translation":
        raise BadInput(f"{path} is no translator of images. Run the stage `translate`")
    net = Translator(width=about["width"], blocks=about["blocks"])
    net.load_state_dict(weights)
    return net.eval()


def write_weights(path: Path, net: nn.Module, about: dict[str, Any]) -> None:
    """What every kind of model file is: weights, and `about` as JSON. Equal ones are equal bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    path.write_bytes(save(tensors, metadata={"tutelage": json.dumps(about, sort_keys=True)}))


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """What the file says of itself, its weights, and its sha256. Raises BadInput for what was not written here."""
    if not path.exists():
        raise BadInput(f"{path} does not exist. `dvc repro` trains it, `dvc pull` fetches it")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        about = json.loads(metadata["tutelage"])
        weights = load_file(path)
    except KeyError as error:
        raise BadInput(f"{path} has no tutelage metadata: only models trained here can be loaded") from error
    except SafetensorError as error:
        raise BadInput(f"{path} is not a whole safetensors file ({error}). Run its stage again") from error
    return about, weights, hashlib.sha256(path.read_bytes()).hexdigest()


def count_parameters(net: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(p.numel() for p in net.parameters())
