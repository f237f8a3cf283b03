"""Training that is cut off as by Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks import carry


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
