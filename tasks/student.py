"""The student of a round."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.box_params import BoxRound
from tasks.knobs import Train
from tasks.params import Params, Round
from tasks.training import NOTE, every_label, guarded, passed, rows_of, run
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.pseudo_labels import read_known, store_of
from tutelage.models.backbone import NetworkSpec
from tutelage.types import BadInput


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the student of a round is, and what it learns from beside the pool."""

    name: str  # for people: progress and messages
    train: Train
    network: NetworkSpec
    roles: tuple[str, ...]
    translator: Path | None = None  # weights of a generator that all labelled images pass through


def student(split: Path, teacher: Path, labels: Path, *, params: Params, out: Path) -> Path:
    """Train a student on labelled images and the pool, with the teacher's pseudo-labels: model.safetensors, curve.csv.

    Of the pool it sees what the labels do not call out of distribution. After the guard has stopped the rounds, or
    where no such image is left, the teacher's model is passed on, and passed.json says why.
    """
    settings = params.rounds[round_of(out)]
    lesson = Lesson(
        name=f"student@{out.parent.name}", train=params.student,
        network=params.resized(settings.network, f"rounds.{round_of(out)}.network"), roles=roles_of(settings),
    )  # fmt: skip
    return teach(split, teacher, labels, lesson, params=params, out=out)


def teach(split: Path, teacher: Path, labels: Path, lesson: Lesson, *, params: Params, out: Path) -> Path:
    """A round's student, or its teacher's model where the guard before has stopped or there is nothing to see."""
    table, train = read_split(split), lesson.train
    state, pool = guarded(teacher), rows_of(table, "pool")
    if reason := untaught(state, train.method, len(pool)):
        return passed(teacher, reason, out)
    ids = table["id"].take(pa.array(pool)).to_pylist()
    pseudo, seen = read_known(labels, ids, len(classes_of(table)))
    if ids:
        check_teacher(labels, teacher / "model.safetensors")
    if train.method.pool and not len(seen):
        return passed(teacher, f"all {len(ids)} image(s) of the pool are out of distribution", out)
    job = every_label(
        lesson.name, weakened(train, state["unsupervised_weight"]), lesson.network, table,
        teacher=teacher / "model.safetensors", roles=lesson.roles,
    )  # fmt: skip
    job = dataclasses.replace(job, pool=pool[seen], pseudo=pseudo, translator=lesson.translator)
    return run(job, table, params, out, notes={NOTE: list(lesson.roles)})


def untaught(state: dict[str, Any], method: Any, pool: int) -> str | None:
    """Why no student is trained after this guard, by this method with so many images in the pool; None where one is."""
    if state["verdict"] == "stop":
        return f"the guard stopped the rounds: {state['reasons'][0]}"
    return "the pool is empty" if method.pool and not pool else None


def check_teacher(labels: Path, model: Path) -> None:
    """Raises BadInput where pseudo-labels are not those of this model."""
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if (said := store_of(labels)["teacher"]) != digest:
        raise BadInput(
            f"{labels} was written by another teacher ({said[:12]}) than {model} ({digest[:12]}). Run `dvc repro` to "
            "label the pool again"
        )


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
