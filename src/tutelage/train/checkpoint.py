"""Everything that changes while training, in one file: a run that continues from it is the run that was never cut."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from tutelage.train.device import put_back_random, random_state
from tutelage.train.loop import Run
from tutelage.types import BadInput


def save(run: Run[Any, Any], path: Path) -> None:
    """Write under a temporary name, sync, rename: there is always one whole checkpoint."""
    write(state_of(run), path)


def state_of(run: Run[Any, Any]) -> dict[str, Any]:
    """All of `run` and torch's random state, as tensors and numbers."""
    return {
        "step": run.step,
        "skipped": run.skipped,
        "optimizer": run.optimizer.state_dict(),
        **random_state(),
        **{name: module.state_dict() for name, module in _modules(run).items()},
    }


def write(state: dict[str, Any], path: Path) -> None:
    """One whole file of tensors and numbers, also for loops that hold their state themselves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def restore(run: Run[Any, Any], path: Path) -> bool:
    """Put `run`, and torch's random state, back to where `path` left them. False where there is no such file.

    Raises BadInput for a file that holds no such run.
    """
    if not path.exists():
        return False
    try:
        put_back(run, torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, UnpicklingError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is no whole checkpoint of this run. Delete it to start this run anew") from error
    return True


def put_back(run: Run[Any, Any], state: dict[str, Any]) -> None:
    """Put `run`, and torch's random state, back to where `state` was taken."""
    for name, module in _modules(run).items():
        module.load_state_dict(state[name])
    run.optimizer.load_state_dict(state["optimizer"])
    run.step, run.skipped = state["step"], state["skipped"]
    put_back_random(state)


def _modules(run: Run[Any, Any]) -> dict[str, torch.nn.Module]:
    modules: dict[str, torch.nn.Module] = {
        "student": run.nets.student,
        "extra": run.nets.extra,
        "average": run.average,
    }
    # A teacher that was given never changes and is read from its own file; one that was copied moves.
    if run.moving_teacher:
        modules["teacher"] = run.nets.teacher
    return modules
