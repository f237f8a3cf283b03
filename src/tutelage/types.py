"""The nouns every layer shares. Letters in shapes: b labeled, u unlabeled, c classes, d width, h w pixels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args, overload

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Losses = dict[str, Float[Tensor, ""]]


class BadInput(ValueError):
    """What a person wrote or handed in is wrong. The message names the value, the rule and the way out."""


class Diverged(RuntimeError):
    """The loss was not a number for several steps in a row. The message says where the batch was saved."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a transformer computes on its way, class token first: l tokens of width d, a heads, values of width v."""

    hidden: tuple[Float[Tensor, "n l d"], ...]  # the embeddings, then what each block makes of them
    last: Float[Tensor, "n l d"]  # the last of them behind the final norm: what heads read
    scores: tuple[Float[Tensor, "n a l l"], ...]  # of each block, before the softmax over keys; none if not asked for
    values: tuple[Float[Tensor, "n a l v"], ...]  # of each block, likewise


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network says about a batch of images."""

    logits: Float[Tensor, "n c"]
    embedding: Float[Tensor, "n d"]
    features: dict[str, Float[Tensor, "n _ _ _"]]  # one map per stage, finest first
    tokens: Tokens | None = None  # where they were asked for: see tutelage.models.backbone
    members: tuple["Outputs", ...] = ()  # of several networks that answer as one, what each says


class Network(nn.Module, ABC):
    """A classifier that also says what it saw on the way. Images are RGB in 0..1; it normalises them itself."""

    widths: dict[str, int]  # channels of each entry of Outputs.features
    embedding_width: int  # d of Outputs.embedding

    @abstractmethod
    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Outputs: ...

    if TYPE_CHECKING:  # nn.Module.__call__ is typed Any

        def __call__(self, images: Tensor) -> Outputs: ...


class Labeled(NamedTuple):
    """Images whose class a person gave, seen twice."""

    weak: Float[Tensor, "b 3 h w"]
    strong: Float[Tensor, "b 3 h w"]
    labels: Int[Tensor, " b"]


class Unlabeled(NamedTuple):
    """Images from the pool, seen twice, with what an offline teacher said of them, if one did."""

    weak: Float[Tensor, "u 3 h w"]
    strong: Float[Tensor, "u 3 h w"]
    ids: Int[Tensor, " u"]  # place of each image in the pool
    target: Float[Tensor, "u c"]  # pseudo-label, a distribution over classes; zeros where there is none
    weight: Float[Tensor, " u"]  # trust in the pseudo-label, 0 where it was rejected or there is none


class Batch(NamedTuple):
    labeled: Labeled
    unlabeled: Unlabeled


class Sizes(NamedTuple):
    """How much data a run has: what memories and schedules of a method are made to fit."""

    labeled: int
    unlabeled: int
    classes: int
    steps: int


class Nets(NamedTuple):
    student: Network
    teacher: Network  # never builds a graph: see tutelage.models.average.Frozen
    extra: nn.Module  # what Method.init returned


class Boxes(NamedTuple):
    """The objects of one image that a detector is to find. Places are x1 y1 x2 y2 in pixels."""

    places: Float[Tensor, "k 4"]
    labels: Int[Tensor, " k"]
    weight: Float[Tensor, " k"]  # trust in the class: 1 where a person gave it, a teacher's less
    place_weight: Float[Tensor, " k"]  # trust in the place: a factor on the regression of the box


class Detections(NamedTuple):
    """What a detector finds in one image, surest first. Places are x1 y1 x2 y2 in pixels."""

    places: Float[Tensor, "k 4"]
    labels: Int[Tensor, " k"]
    scores: Float[Tensor, " k"]


class Look(NamedTuple):
    """What a detector computes on its way to an answer, for a student to be compared with its teacher."""

    losses: Losses  # empty where no targets were given
    pyramid: dict[str, Float[Tensor, "n _ _ _"]]  # as Detector.pyramid
    dense: dict[str, Float[Tensor, "n p _"]]  # as Detector.dense
    rois: tuple[Float[Tensor, "_ 4"], ...]  # of each image, what a second stage judged; empty where there is none
    roi_logits: Float[Tensor, "r _"]  # of all rois in that order, background first; no rows where there is none


class Detector(nn.Module, ABC):
    """Finds objects. torchvision's contract: with targets it answers with losses by name, without with what it found.

    Images are RGB in 0..1, square, all of one size; it normalises them itself. The names of the losses do not depend on
    the targets, and every parameter has a gradient whatever they are: processes must not wait for each other in vain.
    Several processes see a student through its `forward` alone, so a method that compares more than losses asks that
    for a `look`: one pass gives the losses and all behind them. A term must still reach every part of the student.
    """

    classes: int
    widths: dict[str, int]  # channels of each entry of `pyramid`

    @abstractmethod
    def forward(
        self, images: Float[Tensor, "n 3 h w"], targets: Sequence[Boxes] | None = None,
        weight: Float[Tensor, " n"] | None = None, *, look: bool = False, parts: Sequence[int] | None = None,
        known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses | list[Detections] | Look:  # fmt: skip
        """Losses: means over the batch in which an image counts `weight` (1), a box its own weights.

        Of an image's classes only those that are `known`, all by default, are background where no box is: nobody
        looked for the others. Where a box is, it is of its class and of no other, whatever was looked for. With
        `parts`, how many of the images, in order, belong together, means are over each part and its number stands
        before their names: "0.box", "1.box". Networks see all images at once all the same. A part may have none.
        """

    @abstractmethod
    def pyramid(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n _ _ _"]]:
        """The feature maps that the heads look at, finest first."""

    def dense(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n p _"]]:
        """What the heads say at every position or anchor, levels one after another, finest first, in float32.

        `logits` [n p c] (of a proposal network [n p 1]: an object or not), `deltas` [n p 4], of some `centerness`.
        """
        return self(images, look=True).dense

    def roi_logits(self, images: Float[Tensor, "n 3 h w"], rois: Sequence[Float[Tensor, "_ 4"]]) -> Tensor:
        """What a second stage says of boxes of each image: logits [r, classes + 1], background first.

        Raises BadInput where there is no second stage.
        """
        raise BadInput(f"{type(self).__name__} has no second stage. Soft labels of regions need kind: faster_rcnn")

    if TYPE_CHECKING:  # nn.Module.__call__ is typed Any

        @overload
        def __call__(self, images: Tensor) -> list[Detections]: ...
        @overload
        def __call__(
            self, images: Tensor, targets: Sequence[Boxes], weight: Tensor | None = None, *,
            parts: Sequence[int] | None = None, known: Tensor | None = None,
        ) -> Losses: ...  # fmt: skip
        @overload
        def __call__(
            self, images: Tensor, targets: Sequence[Boxes] | None = None, weight: Tensor | None = None, *,
            look: Literal[True], parts: Sequence[int] | None = None, known: Tensor | None = None,
        ) -> Look: ...  # fmt: skip
        def __call__(
            self, images: Tensor, targets: Sequence[Boxes] | None = None, weight: Tensor | None = None, *,
            look: bool = False, parts: Sequence[int] | None = None, known: Tensor | None = None,
        ) -> Losses | list[Detections] | Look: ...  # fmt: skip


class Scenes(NamedTuple):
    """Images with their objects, seen twice. Each view has its own geometry and its boxes have moved along."""

    weak: Float[Tensor, "b 3 h w"]
    weak_boxes: tuple[Boxes, ...]
    strong: Float[Tensor, "b 3 h w"]
    strong_boxes: tuple[Boxes, ...]
    known: Bool[Tensor, "b c"]  # the classes that were looked for: the others are no background


class PoolScenes(NamedTuple):
    """Images of the pool, seen twice, with the boxes that an offline teacher found, if one did. The weak view shows all
    of an image, so that a teacher who is asked about it misses nothing that the strong one shows."""

    weak: Float[Tensor, "u 3 h w"]
    weak_boxes: tuple[Boxes, ...]
    strong: Float[Tensor, "u 3 h w"]
    strong_boxes: tuple[Boxes, ...]
    move: Float[Tensor, "u 2 3"]  # affine: a pixel x, y, 1 of the weak view -> x, y of the strong one
    clear: Bool[Tensor, "u h w"]  # pixels of the strong view that show the scene: not beyond its edge, not under noise
    visible: Float[Tensor, ""]  # a box of which the strong view shows less is neither an object nor background
    weight: Float[Tensor, " u"]  # trust in the image as a whole; 0 where the offline teacher labelled nothing
    ids: Int[Tensor, " u"]  # place of each image in the pool


class SceneBatch(NamedTuple):
    labeled: Scenes
    pool: PoolScenes


class DetectorNets(NamedTuple):
    student: Detector
    teacher: Detector  # never builds a graph
    extra: nn.Module  # what the method's init returned


Shift = Literal["none", "appearance", "class mix", "both", "confidence"]  # what has moved between two sets of images
Task = Literal["classification", "detection", "segmentation", "depth"]
TASKS: tuple[Task, ...] = get_args(Task)
IGNORE = -1  # in place of a class: nobody says what the pixel is
PAD = -1  # behind the end of a string of symbols: nothing is asked of it
