"""The first teacher."""

from pathlib import Path

import pyarrow as pa

from tasks.params import Params
from tasks.training import NOTE, Job, every_label, labels_alone, run
from tutelage.data.manifest import read_split


def teacher(split: Path, doctor: Path, *, params: Params, out: Path) -> Path:
    """Train the first teacher on the labelled images: model.safetensors, curve.csv.

    A method that learns from the pool, such as simclr, sees that too. `doctor` is only waited for: nothing trains on
    data that it refused. The hold-out stays unseen.
    """
    table = read_split(split)
    return run(teacher_job(table, params), table, params, out, notes={NOTE: ["labelled"]})


def teacher_job(table: pa.Table, params: Params) -> Job:
    """What the first teacher is trained on."""
    make = every_label if params.teacher.method.pool else labels_alone
    return make("teacher", params.teacher, params.network, table, roles=("labelled",))
