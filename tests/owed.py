"""What methods of every kind owe the engine, and what to do where one does not give it."""

import dataclasses
import math

import pytest

from tutelage.types import BadInput

ONE_FORWARD = (
    "ask the student once, with a graph, about all images together: `images, trust = transfer_set(batch, ...)`. Batch "
    "norm sees them as a whole, and processes that train together make the same calls"
)


def refuses_numbers_out_of_range(cls):
    numbers = [field.name for field in dataclasses.fields(cls) if field.type in (float, float | None)]
    assert numbers, f"{cls.__name__} has no factor: a method has a weight, a share or a temperature"
    for name in numbers:
        for wrong in (-0.1, math.nan, math.inf):
            with pytest.raises(BadInput, match=rf"{name} of {cls.__name__} is {wrong}: it must be .*default"):
                _taken(cls, name, wrong)


def _taken(cls, name, wrong):
    cls(**{name: wrong})
    pytest.fail(
        f"{cls.__name__} takes {name}={wrong}: write `check(self, shares=(...), weights=(...), positive=(...))` in its "
        f"__post_init__, with {name!r} in one of them"
    )
