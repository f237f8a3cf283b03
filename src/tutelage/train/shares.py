"""A batch cut into equal shares, one after another in a step: with less memory, the gradient is the mean of theirs."""

import itertools
from typing import Any, TypeVar

import torch
from torch import Tensor

from tutelage.data.batch_views import Planned
from tutelage.types import BadInput

T = TypeVar("T")


def shares(batch: T, number: int) -> list[T]:
    """`number` batches, each with as large a part of the labelled images and of the pool, in order.

    Raises BadInput where either does not divide by it: images would not count alike.
    """
    if number == 1:
        return [batch]
    made: Any = batch
    counts = {name: _images(part) for name, part in zip(made._fields, made, strict=True)}
    if uneven := [f"{name} has {count}" for name, count in counts.items() if count % number]:
        raise BadInput(
            f"a batch is cut into {number} shares (compute.accumulate), and {' and '.join(uneven)} images, which does "
            f"not divide by it. Take batches of a multiple of {number}, or fewer shares"
        )
    ends = [[count * share // number for count in counts.values()] for share in range(number + 1)]
    return [
        type(made)(*(_cut(part, a, b) for part, a, b in zip(made, first, last, strict=True)))
        for first, last in itertools.pairwise(ends)
    ]


def _images(part: Any) -> int:
    """A part of a batch begins with its images."""
    return len(part[0].images if isinstance(part[0], Planned) else part[0])


def _cut(part: Any, start: int, stop: int) -> Any:
    """What belongs to the images start..stop-1, whatever holds it."""
    if isinstance(part, Tensor):
        return part[start:stop] if part.ndim else part
    if isinstance(part, tuple) and "rows" in getattr(part, "_fields", ()):  # of some images alone: rows says of which
        return _of_rows(part, start, stop)
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        return type(part)(*(_cut(field, start, stop) for field in part))
    return part[start:stop]  # boxes, one entry an image


def _of_rows(part: Any, start: int, stop: int) -> Any:
    kept = ((part.rows >= start) & (part.rows < stop)).nonzero()[:, 0]
    fields = (each[kept] if isinstance(each, Tensor) else tuple(each[row] for row in kept.tolist()) for each in part)
    cut = type(part)(*fields)
    return cut._replace(rows=cut.rows - start)


def averaged(terms: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each term over shares, detached."""
    return {name: torch.stack([each[name].detach() for each in terms]).mean(0) for name in terms[0]}
