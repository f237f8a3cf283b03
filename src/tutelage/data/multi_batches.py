"""The batch of a step of multi-task training, as a pure function of the seed and the step's number.

Every image says by itself which tasks, and which classes of each, somebody looked for. See tutelage.data.batches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from tutelage.data.batches import ahead, draw
from tutelage.data.box_moves import no_boxes
from tutelage.data.dense_moves import move_classes, move_depth, move_trust
from tutelage.data.images import Images
from tutelage.data.scene_batches import pack_boxes, unpack_boxes
from tutelage.data.scene_views import SceneView, Seen
from tutelage.data.views import stack
from tutelage.multi_types import Annotated, Depths, MultiBatch, Objects, Present, Segments, Truth
from tutelage.types import Boxes

_LABELED, _POOL, _VIEW = 20, 21, 4  # what a random number is for, so that no two uses share a stream


class KnownPresent(NamedTuple):
    target: Float[np.ndarray, " c"]  # probability that the class is in the image
    weight: Float[np.ndarray, " c"]  # 0 where nobody looked


class KnownObjects(NamedTuple):
    boxes: Boxes  # in pixels of the image as the network sees it
    known: Bool[np.ndarray, " c"]  # the classes that were looked for
    weight: float = 1.0  # trust in the image as a whole


class KnownSegments(NamedTuple):
    target: Int[np.ndarray, "s s"]  # IGNORE, 0 background, else the class + 1
    weight: Float[np.ndarray, "s s"]
    known: Bool[np.ndarray, " d"]  # background first


class KnownDepth(NamedTuple):
    target: Float[np.ndarray, "s s"]
    weight: Float[np.ndarray, "s s"]  # 0 where the sensor was blind


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one image. None: nobody worked on that task here."""

    classification: KnownPresent | None = None
    detection: KnownObjects | None = None
    segmentation: KnownSegments | None = None
    depth: KnownDepth | None = None


@dataclass(frozen=True, kw_only=True)
class MultiSource(Dataset[MultiBatch]):
    """Everything a batch is made of. `source[step]` is the batch of that step, counted from 0; pixels are uint8.

    Each image is seen once, in a strong view; boxes, pixels' classes and depth move along. Which classes are in an
    image is not asked again of the view: a class whose only object left it still counts as there.
    """

    images: Images  # letterboxed
    classes: int
    labeled: Int[np.ndarray, " n"]  # rows of `images`
    pool: Int[np.ndarray, " m"]  # rows of `images`
    given: Callable[[int], Known]  # by the place in `labeled`
    said: Callable[[int], Known]  # by the place in `pool`
    view: SceneView
    visible: float = 0.25  # a box of which the view shows less is not believed
    labeled_batch: int
    pool_batch: int
    seed: int

    def __getitem__(self, step: int) -> MultiBatch:
        parts = (
            (self.labeled, self.given, self.labeled_batch, _LABELED),
            (self.pool, self.said, self.pool_batch, _POOL),
        )
        return MultiBatch(*(self._part(*part, step) for part in parts))

    def _part(
        self, rows: Int[np.ndarray, " n"], known: Callable[[int], Known], batch: int, use: int, step: int
    ) -> Annotated:
        places = draw((self.seed, use), len(rows), batch, step)
        made = _Made(self.classes, self.images.size, self.visible)
        for number, place in enumerate(places):
            row, told = int(rows[place]), known(int(place))
            boxes = told.detection.boxes if told.detection else no_boxes()
            # The place in the batch is part of the key: a small set comes round more than once a step.
            made.add(self.view(self.images[row], boxes.places, (self.seed, use, step, row, number, _VIEW)), told)
        return Annotated(torch.from_numpy(stack(made.images, self.images.size)), made.truth())


@dataclass
class _Made:
    """A part of a batch while its images are added one by one."""

    classes: int
    size: int
    visible: float
    images: list[np.ndarray] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in Truth._fields})
    values: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in Truth._fields})

    def add(self, seen: Seen, known: Known) -> None:
        for task, value in (
            ("classification", known.classification),
            ("detection", known.detection and self._boxes(seen, known.detection)),
            ("segmentation", known.segmentation and _segments(seen, known.segmentation)),
            ("depth", known.depth and _depth(seen, known.depth)),
        ):
            if value is not None:
                self.rows[task].append(len(self.images))
                self.values[task].append(value)
        self.images.append(seen.image)

    def truth(self) -> Truth:
        c, s = self.classes, self.size
        present, objects, segments, depth = (list(zip(*self.values[task], strict=True)) for task in Truth._fields)
        rows = [torch.tensor(self.rows[task], dtype=torch.int64) for task in Truth._fields]
        boxes, known, weight = objects or ((), (), ())
        return Truth(
            Present(rows[0], *(_stacked(each, (c,)) for each in present or ((), ()))),
            Objects(rows[1], tuple(boxes), torch.tensor(weight, dtype=torch.float32),
                    _stacked(known, (c,), torch.bool)),
            Segments(rows[2], *(_stacked(each, shape, kind) for each, shape, kind in zip(
                segments or ((), (), ()), ((s, s), (s, s), (c + 1,)), (torch.int64, torch.float32, torch.bool),
                strict=True))),
            Depths(rows[3], *(_stacked(each, (s, s)) for each in depth or ((), ()))),
        )  # fmt: skip

    def _boxes(self, seen: Seen, objects: KnownObjects) -> tuple[Boxes, np.ndarray, float]:
        labels, weight, place_weight = (values[seen.kept] for values in objects.boxes[1:])
        believed = (seen.visible >= self.visible).float()
        return Boxes(seen.places, labels, weight * believed, place_weight * believed), objects.known, objects.weight


def multi_batches(source: MultiSource, *, start: int, stop: int, workers: int) -> Iterator[MultiBatch]:
    """The batches of steps start..stop-1, made ahead of use by `workers` processes; pixels are uint8."""
    for labeled, pool in ahead(_Packed(source), start=start, stop=stop, workers=workers):
        yield MultiBatch(_unpacked(labeled), _unpacked(pool))


@dataclass(frozen=True)
class _Packed(Dataset[Any]):
    """Batches whose boxes lie in one tensor a field, as those of scene_batches."""

    source: MultiSource

    def __getitem__(self, step: int) -> list[Annotated]:
        return [_with_boxes(part, pack_boxes) for part in self.source[step]]


def _with_boxes(part: Annotated, change: Callable[[Any], Any]) -> Annotated:
    objects = part.truth.detection
    return part._replace(truth=part.truth._replace(detection=objects._replace(boxes=change(objects.boxes))))


def _unpacked(part: Annotated) -> Annotated:
    return _with_boxes(part, unpack_boxes)


def _segments(seen: Seen, known: KnownSegments) -> tuple[Tensor, Tensor, np.ndarray]:
    return (
        move_classes(known.target, seen.matrix, seen.clear), move_trust(known.weight, seen.matrix, seen.clear),
        known.known,
    )  # fmt: skip


def _depth(seen: Seen, known: KnownDepth) -> tuple[Tensor, Tensor]:
    return move_depth(known.target, seen.matrix), move_trust(known.weight, seen.matrix, seen.clear)


def _stacked(values: Sequence[Any], shape: tuple[int, ...], kind: torch.dtype = torch.float32) -> Tensor:
    """Arrays or tensors one above the other; none is a tensor of length zero."""
    rows = [torch.as_tensor(value, dtype=kind) for value in values]
    return torch.stack(rows) if rows else torch.zeros(0, *shape, dtype=kind)
