"""What a step takes."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tutelage.train.loop import Run

T = TypeVar("T")


class Timed(Generic[T]):
    """Batches, and how many seconds they were waited for."""

    def __init__(self, feed: Iterable[T]) -> None:
        self.feed, self.waited = iter(feed), 0.0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        began = time.perf_counter()
        try:
            return next(self.feed)
        finally:
            self.waited += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one step, and how many of them it waited for its batch."""

    seconds: float
    waited: float = 0.0


def timed(steps: Iterable[Any], feed: Timed[Any]) -> Iterator[Took]:
    """What each of the steps on `feed` takes. The loop reads its loss each time, so a GPU has done its work by then."""
    began, waited = time.perf_counter(), feed.waited
    for _ in steps:
        yield Took(time.perf_counter() - began, feed.waited - waited)
        began, waited = time.perf_counter(), feed.waited


class Memory:
    """Bytes of what a forward leaves for the backward pass, each piece of memory once."""

    def __init__(self) -> None:
        self._pieces: dict[int, int] = {}

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._pieces[storage.data_ptr()] = storage.nbytes()
        return tensor

    def count(self, run: Run[Any, Any]) -> int:
        """With the networks, the gradients and SGD's momentum of `run`: what a step needs at least, on any device.

        Counted and not measured: the same everywhere. A library's workspace comes on top.
        """
        state = {t.untyped_storage().data_ptr(): t for net in _distinct(run) for t in net.state_dict().values()}
        kept = sum(size for place, size in self._pieces.items() if place not in state)
        trained = [*run.nets.student.parameters(), *run.nets.extra.parameters()]
        return kept + sum(map(_bytes, state.values())) + 2 * sum(map(_bytes, trained))


@contextmanager
def kept_for_backward() -> Iterator[Memory]:
    """Within the block, what autograd saves is counted. Numbers do not change."""
    memory = Memory()
    with saved_tensors_hooks(memory.keep, lambda tensor: tensor):
        yield memory


def _distinct(run: Run[Any, Any]) -> list[nn.Module]:
    nets: list[nn.Module] = [run.nets.student, run.nets.extra, run.average]
    return nets if run.nets.teacher is run.nets.student else [*nets, run.nets.teacher]


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()
