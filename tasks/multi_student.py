"""One network for all tasks: the student, and what it must beat."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tasks.multi_params import TrainMulti
from tasks.multi_said import read_told
from tasks.multi_training import given_of, job_of, train_multi, truth_of
from tasks.multi_turns import train_in_turns
from tasks.params import Params
from tasks.training import rows_of
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


def multi_student(
    split: Path, shares: Path, teachers: Path, labels: Path | None = None, *, params: Params, out: Path
) -> Path:
    """Train the network that `out` names: model.safetensors, curve.csv.

    `student` learns from the true labels of all shares and from what specialists said of the pool (labels/TASK of
    the tasks in student.hears);
    `union`, what it must beat, from the true labels alone: name no `labels` for it. Both begin with what the specialist
    teachers/TASK of `multitask.start` knows, or from scratch. With multitask.student.turns the student is scored on the
    hold-out, beside the specialists where it leaves them: turns.json.
    """
    table, wanted = read_split(split), params.multitask
    if out.name not in ("student", "union"):
        raise BadInput(f"{out} names no network: write work/multitask/student or union")
    if (labels is None) != (out.name == "union"):
        raise BadInput(f"{out}: `student` takes the folder of pseudo-labels, `union` takes none. See --help")
    truth = truth_of(split, shares, table, params)
    train: TrainMulti = wanted.union
    if out.name == "student":
        train = replace(wanted.student, holdout=wanted.student.learns_holdout)
    job = job_of(f"multi_student@{out.name}", train, wanted.tasks, table, truth, shares=shares, params=params)
    if wanted.start is not None:
        job = replace(job, start=teachers / wanted.start)
    if labels is not None:
        pool = rows_of(table, "pool")
        if not len(pool):
            raise BadInput("the pool is empty, so that no student can learn from it. Set detection.ingest.pool")
        told = read_told(labels, wanted.hears, table["id"].take(pa.array(pool)).to_pylist(), truth, pool)
        job = replace(job, told=told, stores=tuple(labels / task for task in wanted.hears))
        if wanted.student.turns is not None:
            held = given_of(wanted.tasks, table, truth, shares=shares, roles=("holdout",))
            return train_in_turns(job, held, table, params, teachers=teachers, out=out)
    return train_multi(job, table, params, out)
