"""A smaller network of depth, taught by a given one; and the same network from labels alone."""

from dataclasses import replace
from pathlib import Path

from tasks.multi_training import job_of, train_multi, truth_of
from tasks.params import Params
from tutelage.data.manifest import read_split
from tutelage.methods.multitask.must import MuST
from tutelage.types import BadInput


def compact_depth(split: Path, shares: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """Train the network of compact_depth on the labelled scenes whose share is depth: model.safetensors, curve.csv.

    OUT named `student`: by the labels and what TEACHER, a folder as multi_teacher writes it, says of the same scenes.
    OUT named `baseline`: by the labels alone. `python -m tasks multi_evaluate` measures either.
    """
    table, wanted = read_split(split), params.compact_depth
    if out.name not in ("student", "baseline"):
        raise BadInput(f"{out} names no network of depth: write work/compact_depth/student or baseline")
    taught = out.name == "student"
    train = wanted.train(wanted.method if taught else MuST())
    truth = truth_of(split, shares, table, params)
    job = job_of(f"compact_depth@{out.name}", train, ("depth",), table, truth, shares=shares, params=params)
    network = wanted.shaped(params.multitask.network)
    return train_multi(replace(job, network=network, teacher=teacher if taught else None), table, params, out)
