"""Training that is cut off as by Ctrl-C."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from tasks import carry
from tutelage.train.lessons import Resumable

Run = TypeVar("Run", bound=Resumable)


@contextmanager
def interrupted(step: int) -> Iterator[None]:
    """The block is to train: it is cut off at its step of that number, whose checkpoint is not written any more."""
    taken, update = [], carry.Progress.update

    def cut(self, number, text=""):
        update(self, number, text)
        taken.append(number)
        if len(taken) == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carry.Progress, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            yield


def continues(
    start: Callable[[], Run], follow: Callable[[Run, Any], Iterable[Any]], seen: Sequence[Any], cut: int, folder: Path
) -> tuple[Run, Run]:
    """A run through all of `seen`, and one that was cut off after `cut` of it and went on in a process of other random
    numbers: that all they have is bit-equal is seen here, whatever a run says its parts are."""
    whole, first, second = start(), start(), start()
    torch.manual_seed(5)
    numbers = [step.number for step in follow(whole, seen)]
    left = _all(whole)
    torch.manual_seed(5)
    assert [step.number for step in follow(first, seen[:cut])] == numbers[:cut]
    torch.save(first.state_dict(), folder / "run.pt")
    torch.manual_seed(99)
    second.load_state_dict(torch.load(folder / "run.pt", weights_only=True))
    assert [step.number for step in follow(second, seen[cut:])] == numbers[cut:] == [*range(cut + 1, len(seen) + 1)]
    torch.testing.assert_close(_all(second), left, rtol=0, atol=0)
    return whole, second


def _all(run: Resumable) -> dict[str, Any]:
    parts = {name: part.state_dict() for name, part in vars(run).items() if hasattr(part, "state_dict")}
    return {**parts, "random": torch.get_rng_state()}
