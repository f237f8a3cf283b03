"""Networks of another size than the rounds', trained without a teacher."""

from pathlib import Path

from tasks.params import Params
from tasks.training import NOTE, every_label, run
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


def alone(split: Path, doctor: Path, *, params: Params, out: Path) -> Path:
    """OUT named `teacher`: the large network that is to be compressed. OUT named `baseline`: the compact network from
    labels alone, which a compact student must be compared with. model.safetensors, curve.csv.

    `doctor` is only waited for. The large teacher may learn from the pool too, where its method does.
    """
    if out.name == "teacher":
        train, network = params.compress.teacher, params.resized(params.compress.network, "compress.network")
    elif out.name == "baseline":
        last = params.compress.chain[params.compress.last].network
        train, network = params.compress.baseline, params.resized(last, "compress.chain")
    else:
        raise BadInput(f"{out} does not say which network it is: write work/compress/teacher or work/compress/baseline")
    table = read_split(split)
    job = every_label(f"alone@{out.name}", train, network, table)
    return run(job, table, params, out, notes={NOTE: ["labelled", "holdout"]})
