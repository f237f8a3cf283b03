"""The batch of a step, as a pure function of the seed and the step's number.

A run that continues starts at its step and sees what it would have seen: there is no sampler to save, and the number of
worker processes changes nothing.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import DataLoader, Dataset

from tutelage.data.batch_views import Planned, carried_out, planned
from tutelage.data.images import Images
from tutelage.data.pseudo_labels import PseudoLabels
from tutelage.data.views import View, Views, stack, strong, weak
from tutelage.types import BadInput, Batch, Labeled, Unlabeled

T = TypeVar("T")
_LABELED, _POOL, _WEAK, _STRONG = 0, 1, 2, 3  # what a random number is for, so that no two uses share a stream
Key = tuple[int, int, int]  # seed, step, and which images of the step
TwoViews = Callable[[list[np.ndarray], Int[np.ndarray, " n"], Key], tuple[Any, Any]]  # images, their rows: weak, strong


@dataclass(frozen=True)
class OneByOne:
    """Weak and strong views uint8 [n, 3, h, w], each image by itself."""

    weak: View
    strong: View
    size: int  # pixels, of images and views

    def __call__(self, images: list[np.ndarray], rows: Int[np.ndarray, " n"], key: Key) -> tuple[Any, Any]:
        # The place in the batch is part of the key: a small set comes round more than once a step.
        seed, step, _ = key
        keys = [(seed, step, int(row), place) for place, row in enumerate(rows)]
        weakly = [self.weak(image, (*own, _WEAK)) for image, own in zip(images, keys, strict=True)]
        strongly = [self.strong(image, (*own, _STRONG)) for image, own in zip(images, keys, strict=True)]
        return torch.from_numpy(stack(weakly, self.size)), torch.from_numpy(stack(strongly, self.size))


@dataclass(frozen=True)
class AtOnce:
    """In place of views come plans of them, which `to_float` carries out on the device."""

    views: Views
    size: int  # pixels, of images and views

    def __call__(self, images: list[np.ndarray], rows: Int[np.ndarray, " n"], key: Key) -> tuple[Any, Any]:
        stacked = stack(images, self.size)
        weakly, strongly = (
            planned(stacked, self.views, (*key, kind), strong=hard) for kind, hard in ((_WEAK, False), (_STRONG, True))
        )
        return weakly, strongly


def two_views(views: Views, size: int) -> TwoViews:
    """What makes the views of a batch, as `views.by` says. Raises BadInput where a shift leaves nothing to see."""
    if views.crop_padding >= size:
        raise BadInput(
            f"views.crop_padding is {views.crop_padding}: images of {size} pixels are shifted by fewer than that. "
            "Write a few, as 3 of 28"
        )
    if views.by == "batch":
        cv2.setNumThreads(0)  # threads inside a loader's process only fight with the training
        return AtOnce(views, size)
    return OneByOne(weak(views, size), strong(views, size), size)


@dataclass(frozen=True, kw_only=True)
class Source(Dataset[Batch]):
    """Everything a batch is made of. `source[step]` is the batch of that step, counted from 0; pixels are uint8."""

    images: Images
    labeled: Int[np.ndarray, " n"]  # rows of `images`
    labels: Int[np.ndarray, " n"]
    pool: Int[np.ndarray, " m"]  # rows of `images`
    pseudo: PseudoLabels  # one entry for each of `pool`
    views: TwoViews
    labeled_batch: int
    pool_batch: int
    seed: int

    def __getitem__(self, step: int) -> Batch:
        rows = draw((self.seed, _LABELED), len(self.labeled), self.labeled_batch, step)
        ids = draw((self.seed, _POOL), len(self.pool), self.pool_batch, step)
        target, weight = self.pseudo.dense(ids)
        return Batch(
            Labeled(*self._two_views(self.labeled[rows], step, _LABELED), torch.from_numpy(self.labels[rows])),
            Unlabeled(
                *self._two_views(self.pool[ids], step, _POOL),
                torch.from_numpy(ids),
                torch.from_numpy(target),
                torch.from_numpy(weight),
            ),
        )

    def _two_views(self, rows: Int[np.ndarray, " n"], step: int, purpose: int) -> tuple[Any, Any]:
        return self.views([self.images[int(row)] for row in rows], rows, (self.seed, step, purpose))


def batches(source: Source, *, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """The batches of steps start..stop-1, made ahead of use by `workers` processes; pixels are float32 in 0..1."""
    yield from ahead(source, start=start, stop=stop, workers=workers)


def ahead(source: Dataset[Any], *, start: int, stop: int, workers: int) -> Iterator[Any]:
    """source[start] to source[stop - 1], made ahead of use by `workers` processes."""
    loader = DataLoader(
        source,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else a loader draws from torch's own, and a run that goes on draws once more
        worker_init_fn=partial(end_with, os.getpid()),
    )
    yield from loader


def shared_out(source: Dataset[Any], number: int, *, many: int) -> Iterator[Any]:
    """source[0] to source[number - 1], made by a process a core; by this one where there are fewer than `many`."""
    return ahead(source, start=0, stop=number, workers=(os.cpu_count() or 1) if number >= many else 0)


def end_with(parent: int, worker: int = 0) -> None:
    """This process, `worker` of the process `parent`, ends when that has.

    A worker of torch looks for its parent only while it waits for work, and may wait for ever to hand some over.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def to_float(batch: T, device: torch.device) -> T:
    """All tensors of a batch on the device, pixels from uint8 to 0..1 there: a quarter of the bytes are moved."""
    return each_tensor(batch, lambda x: on_device(x, device))


def each_tensor(batch: T, change: Callable[[Any], torch.Tensor]) -> T:
    """A batch of tensors in tuples, named ones or plain, of whatever depth, each changed; a plan counts as a tensor."""
    made: Any = batch
    if isinstance(made, torch.Tensor | Planned):
        return cast(T, change(made))
    parts = [each_tensor(part, change) for part in made]
    return cast(T, type(made)(*parts) if hasattr(made, "_fields") else tuple(parts))


def on_device(x: torch.Tensor | Planned, device: torch.device) -> torch.Tensor:
    """Pixels (uint8 [n, 3, h, w]) become 0..1 there, plans become views; anything else only moves.

    So do labels, targets and weights of uint8: nothing but images has four axes.
    """
    if isinstance(x, Planned):
        return carried_out(Planned(*(part.to(device, non_blocking=True) for part in x)))
    moved = x.to(device, non_blocking=True)
    return moved.float().div_(255) if moved.dtype == torch.uint8 and moved.ndim == 4 else moved


def draw(seed: tuple[int, ...], length: int, batch: int, step: int) -> Int[np.ndarray, " n"]:
    """Places in 0..length-1 of the batch at `step`: one permutation of everything after another, cut into batches."""
    if length == 0 or batch == 0:
        return np.zeros(0, np.int64)
    places = np.arange(step * batch, (step + 1) * batch)
    passes = places // length
    drawn = np.empty(batch, np.int64)
    for number in np.unique(passes):
        mine = passes == number
        drawn[mine] = _permutation(seed, length, int(number))[places[mine] % length]
    return drawn


@lru_cache(maxsize=4)
def _permutation(seed: tuple[int, ...], length: int, number: int) -> Int[np.ndarray, " n"]:
    return np.random.default_rng((*seed, number)).permutation(length)
