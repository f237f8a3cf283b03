"""The guard of a round of adaptation."""

from dataclasses import replace
from pathlib import Path

from tasks.guard import guard
from tasks.params import Params


def adapt_guard(split: Path, teacher: Path, labels: Path, student: Path, *, params: Params, out: Path) -> Path:
    """As `guard`, on the source's hold-out and the target: what a student may lose there is `adapt.choose.margin`."""
    limits = replace(params.guard, max_drop=params.adapt.choose.margin)
    return guard(split, teacher, labels, student, params=replace(params, guard=limits), out=out)
