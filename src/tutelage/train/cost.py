"""What a step takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tutelage.train.loop import Run


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
