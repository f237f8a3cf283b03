"""A specialist for one task."""

from pathlib import Path

from tasks.multi_training import job_of, train_multi, truth_of
from tasks.params import Params
from tutelage.data.manifest import read_split
from tutelage.types import BadInput, Task


def multi_teacher(split: Path, shares: Path, *, params: Params, out: Path) -> Path:
    """Train the specialist for the task that `out` names, on its own share of the labelled scenes with only its own
    labels: model.safetensors, curve.csv."""
    task, table = task_of(out, params), read_split(split)
    truth = truth_of(split, shares, table, params)
    wanted = params.multitask.teacher
    job = job_of(f"multi_teacher@{task}", wanted, (task,), table, truth, shares=shares, params=params)
    return train_multi(job, table, params, out)


def task_of(folder: Path, params: Params) -> Task:
    """The task that a folder is named after. Raises BadInput where it is none of multitask.tasks."""
    for task in params.multitask.tasks:
        if folder.name == task:
            return task
    names = ", ".join(params.multitask.tasks)
    raise BadInput(f"{folder} names no task: call it after one of multitask.tasks, which are {names}")
