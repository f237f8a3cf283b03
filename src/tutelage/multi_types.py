"""The nouns of several tasks at once. Letters in shapes: n images, m with labels, c classes, d = c + 1, h w pixels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tutelage.types import Boxes, Detections, Task


class Present(NamedTuple):
    """Which classes are somewhere in an image. Only images where somebody looked have a row."""

    rows: Int[Tensor, " m"]  # their places in the batch
    target: Float[Tensor, "m c"]  # 1 there, 0 not there; a teacher's is a probability
    weight: Float[Tensor, "m c"]  # trust, 0 where nobody looked for the class


class Objects(NamedTuple):
    """The objects of the images where somebody looked for any."""

    rows: Int[Tensor, " m"]
    boxes: tuple[Boxes, ...]
    weight: Float[Tensor, " m"]  # trust in the image as a whole
    known: Bool[Tensor, "m c"]  # the classes that were looked for: the others are no negatives


class Segments(NamedTuple):
    """The class of every pixel of the images where somebody gave it."""

    rows: Int[Tensor, " m"]
    target: Int[Tensor, "m h w"]  # IGNORE, 0 background, else the class + 1
    weight: Float[Tensor, "m h w"]  # trust
    known: Bool[Tensor, "m d"]  # d = c + 1: the classes that were looked for, background first


class Depths(NamedTuple):
    """The depth of every pixel of the images where it was measured."""

    rows: Int[Tensor, " m"]
    target: Float[Tensor, "m h w"]  # metres, or whatever unit the data has
    weight: Float[Tensor, "m h w"]  # trust, 0 where the sensor was blind


class Truth(NamedTuple):
    """All that is known of a batch of images, by task. A task of which nothing is known has no rows."""

    classification: Present
    detection: Objects
    segmentation: Segments
    depth: Depths


class Annotated(NamedTuple):
    images: Float[Tensor, "n 3 h w"]
    truth: Truth


class MultiBatch(NamedTuple):
    labeled: Annotated  # by people
    pool: Annotated  # by teachers


class DenseObjects(NamedTuple):
    """What a one-stage detector says at every position, as OneStage.heads, and what that is relative to."""

    said: dict[str, Float[Tensor, "m p _"]]
    anchors: Float[Tensor, "p 4"]
    levels: tuple[int, ...]  # anchors of each level, finest first


@dataclass(frozen=True, slots=True)
class MultiOutputs:
    """Raw answers in float32, each to the images that its head was asked about; None where it was asked about none."""

    pyramid: dict[str, Float[Tensor, "n _ _ _"]]  # of all images, finest first
    classification: Float[Tensor, "_ c"] | None  # logits, each class on its own
    detection: DenseObjects | None
    segmentation: Float[Tensor, "_ d h w"] | None  # logits, background first
    depth: Float[Tensor, "_ h w"] | None  # ln of the depth


class Answers(NamedTuple):
    """What a network with several heads says of images; None for a task that it has no head for."""

    classification: Float[Tensor, "n c"] | None  # probability that the class is there
    detection: list[Detections] | None
    segmentation: Float[Tensor, "n d h w"] | None  # probabilities, background first
    depth: Float[Tensor, "n h w"] | None


class Multi(nn.Module, ABC):
    """One backbone and pyramid with a head a task. Images are RGB in 0..1, square; it normalises them itself."""

    tasks: tuple[Task, ...]
    classes: int
    widths: dict[str, int]  # channels of each entry of MultiOutputs.pyramid

    @abstractmethod
    def forward(
        self, images: Float[Tensor, "n 3 h w"], rows: Mapping[Task, Int[Tensor, " _"]] | None = None
    ) -> MultiOutputs:
        """Every head looks at the images `rows` names for it, and at none where it names none; at all by default."""

    @abstractmethod
    def answers(self, images: Float[Tensor, "n 3 h w"]) -> Answers:
        """What it says, without a graph."""

    if TYPE_CHECKING:  # nn.Module.__call__ is typed Any

        def __call__(self, images: Tensor, rows: Mapping[Task, Tensor] | None = None) -> MultiOutputs: ...


class MultiNets(NamedTuple):
    student: Multi
    teacher: Multi  # the student itself where teachers have labelled before
    extra: nn.Module  # what the method's init returned
