"""A link of the compression chain."""

from pathlib import Path

from tasks.params import Params
from tasks.training import every_label, run
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


def compact(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """Train a smaller network on labelled images and the pool, with what the teacher answers in every step:
    model.safetensors, curve.csv.
    """
    chain = params.compress.chain
    if not out.name.isdigit() or int(out.name) not in chain:
        raise BadInput(f"{out} does not say its link: write work/compress/students/N, N from 1 to {len(chain)}")
    network = params.resized(chain[int(out.name)].network, f"compress.chain.{out.name}.network")
    table = read_split(split)
    job = every_label(
        f"compact@{out.name}", params.compress.student, network, table, teacher=teacher / "model.safetensors"
    )
    return run(job, table, params, out)
