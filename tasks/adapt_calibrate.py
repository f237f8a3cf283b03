"""What the scores of a round's teacher are worth on the source."""

from dataclasses import replace
from pathlib import Path

from tasks.calibrate import calibrate
from tasks.params import Params


def adapt_calibrate(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """As `calibrate`, on the source's hold-out. The target looks otherwise on purpose, so nothing of it is called out
    of distribution."""
    everything = replace(params.calibrate, in_distribution=None)
    return calibrate(split, teacher, params=replace(params, calibrate=everything), out=out)
