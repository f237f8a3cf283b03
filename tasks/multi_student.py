"""One network for all tasks: the student, and what it must beat."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tasks.multi_said import read_told
from tasks.multi_training import job_of, train_multi, truth_of
from tasks.params import Params
from tasks.training import rows_of
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


def multi_student(
    split: Path, shares: Path, teachers: Path, labels: Path | None = None, *, params: Params, out: Path
) -> Path:
    """Train the network that `out` names: model.safetensors, curve.csv.

    `student` learns from the true labels of all shares and from what each specialist said of the pool (labels/TASK);
    `union`, what it must beat, from the true labels alone: name no `labels` for it. Both begin with what the specialist
    teachers/TASK of `multitask.start` knows, or from scratch.
    """
    table, wanted = read_split(split), params.multitask
    if out.name not in ("student", "union"):
        raise BadInput(f"{out} names no network: write work/multitask/student or union")
    if (labels is None) != (out.name == "union"):
        raise BadInput(f"{out}: `student` takes the folder of pseudo-labels, `union` takes none. See --help")
    truth = truth_of(split, shares, table, params)
    train = wanted.student if out.name == "student" else wanted.union
    job = job_of(f"multi_student@{out.name}", train, wanted.tasks, table, truth, shares=shares, params=params)
    if wanted.start is not None:
        job = replace(job, start=teachers / wanted.start)
    if labels is not None:
        pool = rows_of(table, "pool")
        if not len(pool):
            raise BadInput("the pool is empty, so that no student can learn from it. Set detection.ingest.pool")
        told = read_told(labels, wanted.tasks, table["id"].take(pa.array(pool)).to_pylist(), truth, pool)
        job = replace(job, told=told, stores=tuple(labels / task for task in wanted.tasks))
    return train_multi(job, table, params, out)
