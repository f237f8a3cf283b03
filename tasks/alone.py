"""Networks of another size than the rounds', trained without a teacher."""

from pathlib import Path

import pyarrow as pa

from tasks.params import Params
from tasks.training import NOTE, Job, every_label, run
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


def alone(split: Path, doctor: Path, *, params: Params, out: Path) -> Path:
    """OUT named `teacher`: the large network that is to be compressed. OUT named `baseline`: the compact network from
    labels alone, which a compact student must be compared with. model.safetensors, curve.csv.

    `doctor` is only waited for. The large teacher may learn from the pool too, where its method does.
    """
    if out.name not in ("teacher", "baseline"):
        raise BadInput(f"{out} does not say which network it is: write work/compress/teacher or work/compress/baseline")
    table = read_split(split)
    return run(alone_job(out.name, table, params), table, params, out, notes={NOTE: ["labelled", "holdout"]})


def alone_job(name: str, table: pa.Table, params: Params) -> Job:
    """What `teacher` or `baseline` is trained on."""
    wanted = params.compress
    if name == "teacher":
        train, network = wanted.teacher, params.resized(wanted.network, "compress.network")
    else:
        train, network = wanted.baseline, params.resized(wanted.chain[wanted.last].network, "compress.chain")
    return every_label(f"alone@{name}", train, network, table)
