"""The first teacher."""

from pathlib import Path

from tasks.params import Params
from tasks.training import supervised


def teacher(split: Path, doctor: Path, *, params: Params, out: Path) -> Path:
    """Train the first teacher on the labelled images: model.safetensors, curve.csv.

    `doctor` is only waited for: nothing trains on data that it refused. The hold-out stays unseen.
    """
    return supervised("teacher", params.teacher, ("labelled",), split, params, out)
