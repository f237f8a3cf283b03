"""Detectors by name. What they are made of is loaded where it is used: torchvision takes a while."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Literal

from tutelage.models.backbone import NetworkSpec
from tutelage.types import BadInput, Detector

Kind = Literal["fcos", "retinanet", "faster_rcnn", "detectron2"]
READ_BY = {"config": ("detectron2",), "roi_loss": ("faster_rcnn",), "anchor_scale": ("retinanet", "faster_rcnn")}
RETINANET_CONVS = 4  # of torchvision's heads, as published


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """What a detector is made from. The defaults are for scenes of about 100 pixels.

    R50-FPN as published, for photographs: backbone resnet50, pretrained, image_size 640, channels 256, head_convs 4,
    and levels from 8 to 128 (of faster_rcnn from 4 to 64).
    """

    __pydantic_config__ = {"extra": "forbid"}
    kind: Kind = "fcos"  # one stage without anchors; one with; two stages; or a network of detectron2, by `config`
    backbone: str = "small_resnet"  # or any name of timm.list_models() whose stages halve their maps
    width: int = 32  # of small_resnet's first stage; others have their own
    image_size: int = 96  # pixels; images are scaled to fit into this square
    pretrained: bool = False  # published weights of the backbone, whose batch norm then stays as it is
    levels: tuple[int, ...] = (4, 8, 16)  # strides of the feature pyramid in pixels, finest first, each twice the last
    channels: int = 32  # of each level, a multiple of 8
    head_convs: int = 2  # convolutions before the answer of a one-stage head; of retinanet 4 at most
    anchor_scale: float | None = None  # side of a level's smallest anchor in strides; None: 4, of faster_rcnn 8
    roi_loss: Literal["ce", "focal"] = "ce"  # of the classes of faster_rcnn's regions; focal: of Unbiased Teacher
    config: str = ""  # of detectron2: a file or a name in its model zoo
    score_floor: float = 0.05  # what is less sure is not answered
    nms: float = 0.5  # of two boxes of a class that overlap more, the surer one is answered
    max_detections: int = 100  # an image; no evaluation sees more
    candidates: int = 1000  # of an image and a level of a one-stage head, that are compared with each other

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))  # JSON knows no tuples
        self._check_read()
        doubled = all(fine * 2 == coarse for fine, coarse in zip(self.levels, self.levels[1:], strict=False))
        if not self.levels or self.levels[0] < 2 or self.levels[0].bit_count() != 1 or not doubled:
            raise BadInput(
                f"detector.levels is {list(self.levels)}: powers of two, each twice the last, as in [4, 8, 16]"
            )
        if self.channels < 8 or self.channels % 8 or self.head_convs < 1:
            raise BadInput(f"{self}: channels is a multiple of 8, head_convs at least 1")
        if not (0 <= self.score_floor < 1 and 0 < self.nms <= 1):
            raise BadInput(f"{self}: score_floor is in 0..1, nms above 0 and at most 1")
        if self.max_detections < 1 or self.candidates < 1:
            raise BadInput(f"{self}: max_detections and candidates are at least 1")
        if self.anchor_scale is not None and self.anchor_scale <= 0:
            raise BadInput(f"detector.anchor_scale is {self.anchor_scale}: a number of strides above 0, or null")
        if self.kind != "detectron2":
            self.network  # its own checks

    def _check_read(self) -> None:
        """What nothing reads would be set in vain."""
        for name, kinds in READ_BY.items():
            value = getattr(self, name)
            if self.kind not in kinds and value != getattr(DetectorSpec, name):
                read = f"only kind: {' or '.join(kinds)} reads, not {self.kind}"
                raise BadInput(f"detector.{name} is {value!r}, which {read}. Leave it out")
        if self.kind == "retinanet" and self.head_convs > RETINANET_CONVS:
            raise BadInput(
                f"detector.head_convs is {self.head_convs}, but retinanet has {RETINANET_CONVS} at most. Write so many "
                "or fewer, or kind: fcos"
            )

    @property
    def network(self) -> NetworkSpec:
        """The backbone alone."""
        return NetworkSpec(name=self.backbone, width=self.width, image_size=self.image_size, pretrained=self.pretrained)


def create_detector(spec: DetectorSpec, classes: int, *, download: bool = True) -> Detector:
    """A new detector of `classes` classes. Random weights are drawn from torch's global state.

    `download=False` leaves published weights out even where the spec names them: for files that hold their own.
    Raises BadInput where a part of it is not installed or does not fit.
    """
    if classes < 1:
        raise BadInput(f"A detector of {classes} classes finds nothing: name at least one class")
    download = download and spec.pretrained
    match spec.kind:
        case "fcos":
            from tutelage.models.fcos import Fcos

            return Fcos(spec, classes, download=download)
        case "retinanet":
            from tutelage.models.retinanet import RetinaNet

            return RetinaNet(spec, classes, download=download)
        case "faster_rcnn":
            from tutelage.models.faster_rcnn import FasterRcnn

            return FasterRcnn(spec, classes, download=download)
        case "detectron2":
            return _detectron2(spec, classes, download=download)


INSTALL_DETECTRON2 = (
    "pip install 'setuptools<81' wheel && "
    "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'"
)


def _detectron2(spec: DetectorSpec, classes: int, *, download: bool) -> Detector:
    if importlib.util.find_spec("detectron2") is None:
        raise BadInput(f"detector.kind is 'detectron2', which is not installed. Install it with: {INSTALL_DETECTRON2}")
    made: Detector = importlib.import_module("tutelage.models.detectron2").create(spec, classes, download=download)
    return made
