"""The student of a round."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.box_params import BoxRound
from tasks.io import read_json, whole, write_json
from tasks.params import Params, Round
from tasks.training import every_label, rows_of, run
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.pseudo_labels import read
from tutelage.types import BadInput


def student(split: Path, teacher: Path, labels: Path, *, params: Params, out: Path) -> Path:
    """Train a student on labelled images and the pool, with the teacher's pseudo-labels: model.safetensors, curve.csv.

    After the guard has stopped the rounds, or where the pool is empty, the teacher's model is passed on, and
    passed.json says why.
    """
    table = read_split(split)
    state = read_json(teacher / "guard.json") if (teacher / "guard.json").exists() else {}
    pool, settings = rows_of(table, "pool"), params.rounds[round_of(out)]
    stopped = state.get("verdict") == "stop"
    if stopped or (params.student.method.pool and not len(pool)):
        reason = f"the guard stopped the rounds: {state['reasons'][0]}" if stopped else "the pool is empty"
        with whole(out) as folder:
            shutil.copy(teacher / "model.safetensors", folder / "model.safetensors")
            write_json(folder / "passed.json", {"reason": reason})
        return out
    job = every_label(
        f"student@{out.parent.name}", weakened(params.student, state.get("unsupervised_weight", 1.0)),
        params.resized(settings.network, f"rounds.{round_of(out)}.network"), table,
        teacher=teacher / "model.safetensors", roles=roles_of(settings),
    )  # fmt: skip
    ids = table["id"].take(pa.array(pool)).to_pylist()
    job = dataclasses.replace(job, pseudo=read(labels, ids, len(classes_of(table))))
    run(job, table, params, out, notes={"learned_from.json": list(roles_of(settings))})
    return out


def round_of(out: Path) -> int:
    """work/rounds/2/student is of round 2."""
    if not out.parent.name.isdigit():
        raise BadInput(f"{out} does not say its round: write work/rounds/N/student")
    return int(out.parent.name)


def roles_of(settings: Round | BoxRound) -> tuple[str, ...]:
    return ("labelled", "holdout") if settings.holdout else ("labelled",)


def weakened(train: Any, factor: float) -> Any:
    """A student's settings (Train or TrainDetector) with the guard's factor on all that comes from the pool."""
    if factor == 1.0 or not train.method.pool:
        return train
    names = {field.name for field in dataclasses.fields(train.method)}
    if "unsupervised" not in names:
        raise BadInput(
            f"the guard wants to weaken {type(train.method).__name__}, which has no `unsupervised` weight. "
            "Choose another student.method, or raise the guard's limits"
        )
    weaker: dict[str, Any] = {"unsupervised": factor * train.method.unsupervised}
    return dataclasses.replace(train, method=dataclasses.replace(train.method, **weaker))
