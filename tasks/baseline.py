"""The fair baseline."""

from pathlib import Path

from tasks.params import Params
from tasks.training import supervised


def baseline(split: Path, doctor: Path, *, params: Params, out: Path) -> Path:
    """Train on every label there is, the hold-out's too, and nothing else: what a student must beat.

    It is what a team without a pool would do: it needs no calibration, so it gives no label away for it. Network,
    views, moving average and steps are the student's.
    """
    return supervised("baseline", params.baseline, ("labelled", "holdout"), split, params, out)
