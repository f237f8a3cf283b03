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

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import DataLoader, Dataset

from tutelage.data.batch_views import Planned, carried_out, planned
from tutelage.data.images import Images
from tutelage.data.pseudo_labels import PseudoLabels
from tutelage.data.views import View, Views, stack
from tutelage.types import Batch, Labeled, Unlabeled

T = TypeVar("T")
_LABELED, _POOL, _WEAK, _STRONG = 0, 1, 2, 3  # what a random number is for, so that no two uses share a stream


@dataclass(frozen=True, kw_only=True)
class Source(Dataset[Batch]):
    """Everything a batch is made of. `source[step]` is the batch of that step, counted from 0; pixels are uint8.

    With `together`, it says how views are made of whole batches and `weak`, `strong` do nothing: in place of views
    come plans, which `to_float` carries out on the device.
    """

    images: Images
    labeled: Int[np.ndarray, " n"]  # rows of `images`
    labels: Int[np.ndarray, " n"]
    pool: Int[np.ndarray, " m"]  # rows of `images`
    pseudo: PseudoLabels  # one entry for each of `pool`
    weak: View
    strong: View
    labeled_batch: int
    pool_batch: int
    seed: int
    together: Views | None = None

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
        plain = [self.images[int(row)] for row in rows]
        if self.together is not None:
            stacked, key = stack(plain, self.images.size), (self.seed, step, purpose)
            kinds = ((_WEAK, False), (_STRONG, True))
            weakly, strongly = (planned(stacked, self.together, (*key, kind), strong=hard) for kind, hard in kinds)
            return weakly, strongly
        # The place in the batch is part of the key: a small set comes round more than once a step.
        keys = [(self.seed, step, int(row), place) for place, row in enumerate(rows)]
        weak = [self.weak(image, (*key, _WEAK)) for image, key in zip(plain, keys, strict=True)]
        strong = [self.strong(image, (*key, _STRONG)) for image, key in zip(plain, keys, strict=True)]
        return (
            torch.from_numpy(stack(weak, self.images.size)),
            torch.from_numpy(stack(strong, self.images.size)),
        )


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
        worker_init_fn=partial(_end_with, os.getpid()),
    )
    yield from loader


def _end_with(parent: int, worker: int) -> None:
    """A worker of torch looks for its parent only while it waits for work, and may wait for ever to hand some over."""
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
    """Pixels (uint8) become 0..1 there, plans become views; anything else only moves."""
    if isinstance(x, Planned):
        return carried_out(Planned(*(part.to(device, non_blocking=True) for part in x)))
    moved = x.to(device, non_blocking=True)
    return moved.float().div_(255) if moved.dtype == torch.uint8 else moved


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
