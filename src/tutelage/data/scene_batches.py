"""The batch of scenes of a step, as a pure function of the seed and the step's number. See tutelage.data.batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from tutelage.data.batches import ahead, draw
from tutelage.data.box_moves import inverse, no_boxes, one_after_another
from tutelage.data.boxes import Given, known_of
from tutelage.data.images import Images
from tutelage.data.scene_views import SceneView, Seen, as_it_is
from tutelage.data.views import stack
from tutelage.types import Boxes, PoolScenes, SceneBatch, Scenes

_LABELED, _POOL, _WEAK, _STRONG = 10, 11, 2, 3  # what a random number is for, so that no two uses share a stream
_NAMES = {_LABELED: "labeled", _POOL: "pool"}


@runtime_checkable
class Annotated(Protocol):
    """What people marked in the images."""

    def __getitem__(self, row: int) -> Given:
        """Objects of a row of the split, in pixels of the original image."""
        ...


@runtime_checkable
class Marked(Protocol):
    """What an offline teacher marked in the pool."""

    @property
    def image_weight(self) -> Float[np.ndarray, " m"]:
        """Trust in each image of the pool as a whole, 0 where nothing was labelled."""
        ...

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Places [k 4] in pixels of the original image, labels, weights and place weights [k] of an image's boxes."""
        ...


@dataclass(frozen=True, kw_only=True)
class SceneSource(Dataset[SceneBatch]):
    """Everything a batch is made of. `source[step]` is the batch of that step, counted from 0; pixels are uint8.

    Boxes that are not to be believed keep their place with a weight of 0, so that a detector does not take them for
    background: groups under one box, and what a view shows too little of. A group over the whole image says that nobody
    looked for its class.
    """

    images: Images  # letterboxed
    sizes: Int[np.ndarray, "r 2"]  # width and height of the original of each row of `images`
    annotations: Annotated
    classes: int
    labeled: Int[np.ndarray, " n"]  # rows of `images`
    pool: Int[np.ndarray, " m"]  # rows of `images`
    pseudo: Marked  # one entry for each of `pool`
    weak: SceneView
    strong: SceneView
    whole: SceneView  # of the pool in place of `weak`, and nothing may lie outside
    visible: float = 0.25  # a box of which a view shows less is not believed
    labeled_batch: int
    pool_batch: int
    seed: int
    unread: frozenset[str] = frozenset()  # views that are not made, such as "pool.weak": the plain image in their place

    def __getitem__(self, step: int) -> SceneBatch:
        rows = self.labeled[draw((self.seed, _LABELED), len(self.labeled), self.labeled_batch, step)]
        ids = draw((self.seed, _POOL), len(self.pool), self.pool_batch, step)
        given, known = zip(*(self._given(int(row)) for row in rows), strict=True)
        scenes = Scenes(*self._two_views(rows, given, step, _LABELED)[:4], torch.stack(known))
        if not len(ids):
            return SceneBatch(scenes, no_pool(self.images.size))
        pool = self._two_views(self.pool[ids], [self._marked(int(place)) for place in ids], step, _POOL)
        trust = torch.from_numpy(self.pseudo.image_weight[ids].astype(np.float32))
        visible = torch.tensor(self.visible)
        return SceneBatch(scenes, PoolScenes(*pool, visible, trust, torch.from_numpy(ids)))

    def _given(self, row: int) -> tuple[Boxes, Bool[Tensor, " c"]]:
        wide, high = self.sizes[row].tolist()
        given, known = known_of(self.annotations[row], wide, high, self.classes)
        believed = torch.from_numpy(~given.crowd).float()
        return Boxes(self._framed(given.places, row), _whole(given.labels), believed, believed), torch.from_numpy(known)

    def _marked(self, place: int) -> Boxes:
        places, labels, weight, place_weight = self.pseudo[place]
        trust = [torch.from_numpy(np.asarray(each, np.float32)) for each in (weight, place_weight)]
        return Boxes(self._framed(places, int(self.pool[place])), _whole(labels), *trust)

    def _framed(self, places: Float[np.ndarray, "k 4"], row: int) -> Float[Tensor, "k 4"]:
        factor = self.images.size / self.sizes[row].max()
        return torch.from_numpy(np.asarray(places, np.float32).reshape(-1, 4) * np.float32(factor))

    def _two_views(
        self, rows: Int[np.ndarray, " n"], boxes: Sequence[Boxes], step: int, use: int
    ) -> tuple[Tensor, tuple[Boxes, ...], Tensor, tuple[Boxes, ...], Float[Tensor, "n 2 3"], Bool[Tensor, "n s s"]]:
        weak, strong = [], []
        for place, (row, marked) in enumerate(zip(rows, boxes, strict=True)):
            # The place in the batch is part of the key: a small set comes round more than once a step.
            key, plain = (self.seed, use, step, int(row), place), self.images[int(row)]
            weak.append(self._view(f"{_NAMES[use]}.weak")(plain, marked.places, (*key, _WEAK)))
            strong.append(self._view(f"{_NAMES[use]}.strong")(plain, marked.places, (*key, _STRONG)))
        moves = [one_after_another(inverse(a.matrix), b.matrix) for a, b in zip(weak, strong, strict=True)]
        clear = torch.stack([seen.clear for seen in strong])
        return *self._batch(weak, boxes), *self._batch(strong, boxes), torch.stack(moves).float(), clear

    def _view(self, name: str) -> SceneView:
        if name in self.unread:
            return as_it_is
        return {"labeled.weak": self.weak, "pool.weak": self.whole}.get(name, self.strong)

    def _batch(self, views: list[Seen], boxes: Sequence[Boxes]) -> tuple[Tensor, tuple[Boxes, ...]]:
        pixels = torch.from_numpy(stack([seen.image for seen in views], self.images.size))
        return pixels, tuple(self._seen(*each) for each in zip(views, boxes, strict=True))

    def _seen(self, seen: Seen, boxes: Boxes) -> Boxes:
        labels, weight, place_weight = (field[seen.kept] for field in boxes[1:])
        believed = (seen.visible >= self.visible).float()
        return Boxes(seen.places, labels, weight * believed, place_weight * believed)


def no_pool(size: int) -> PoolScenes:
    """Of the pool no image, for methods that learn from labelled scenes of `size` pixels alone."""
    images, clear = torch.zeros(0, 3, size, size, dtype=torch.uint8), torch.zeros(0, size, size, dtype=torch.bool)
    none = torch.zeros(0)
    return PoolScenes(images, (), images, (), torch.zeros(0, 2, 3), clear, torch.zeros(()), none, none.long())


def scene_batches(source: SceneSource, *, start: int, stop: int, workers: int) -> Iterator[SceneBatch]:
    """The batches of steps start..stop-1, made ahead of use by `workers` processes; pixels are uint8."""
    for labeled, pool in ahead(_Packed(source), start=start, stop=stop, workers=workers):
        yield SceneBatch(Scenes(*_unpacked(labeled)), PoolScenes(*_unpacked(pool)))


@dataclass(frozen=True)
class _Packed(Dataset[Any]):
    """Batches whose boxes lie in one tensor a field: every tensor that leaves a process costs it an open file."""

    source: SceneSource

    def __getitem__(self, step: int) -> list[list[Any]]:
        return [
            [pack_boxes(field) if isinstance(field, tuple) else field for field in part] for part in self.source[step]
        ]


def pack_boxes(boxes: tuple[Boxes, ...]) -> dict[str, Tensor]:
    """Those of several images, one tensor a field."""
    counts = torch.tensor([len(each.labels) for each in boxes], dtype=torch.int64)
    fields = zip(Boxes._fields, zip(no_boxes(), *boxes, strict=True), strict=True)
    return {"counts": counts, **{name: torch.cat(values) for name, values in fields}}


def unpack_boxes(packed: dict[str, Tensor]) -> tuple[Boxes, ...]:
    """What `pack_boxes` packed."""
    counts = packed["counts"].tolist()
    return tuple(Boxes(*fields) for fields in zip(*(packed[f].split(counts) for f in Boxes._fields), strict=True))


def _unpacked(part: list[Any]) -> list[Any]:
    return [unpack_boxes(field) if isinstance(field, dict) else field for field in part]


def _whole(labels: Any) -> Int[Tensor, " k"]:
    return torch.from_numpy(np.asarray(labels, np.int64))
