"""The first teacher."""

from pathlib import Path

from tasks.params import Params
from tasks.training import NOTE, every_label, run, supervised
from tutelage.data.manifest import read_split


def teacher(split: Path, doctor: Path, *, params: Params, out: Path) -> Path:
    """Train the first teacher on the labelled images: model.safetensors, curve.csv.

    A method that learns from the pool, such as simclr, sees that too. `doctor` is only waited for: nothing trains on
    data that it refused. The hold-out stays unseen.
    """
    if not params.teacher.method.pool:
        return supervised("teacher", params.teacher, ("labelled",), split, params, out)
    table = read_split(split)
    job = every_label("teacher", params.teacher, params.network, table, roles=("labelled",))
    return run(job, table, params, out, notes={NOTE: ["labelled"]})
