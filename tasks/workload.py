"""What the stages of classification will do, as far as it takes long: steps of training, images to answer for."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from tasks import pace
from tasks.judge import BATCH as JUDGED_AT_ONCE
from tasks.oracle import oracle_job
from tasks.pace import Pace
from tasks.params import Params
from tasks.signals import BATCH, SAMPLE
from tasks.student import roles_of
from tasks.teacher import teacher_job
from tasks.training import Job, every_label, labels_alone, rows_of
from tutelage.data.images import fits
from tutelage.data.manifest import read_split, read_truth
from tutelage.models.backbone import NetworkSpec
from tutelage.models.detectors import DetectorSpec
from tutelage.models.files import load_model
from tutelage.train.predict import looks
from tutelage.types import BadInput

SPLIT = Path("work/split")
Spec = TypeVar("Spec", NetworkSpec, DetectorSpec)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work of one kind in one stage."""

    kind: str  # what is measured of one holds for all of its kind
    unit: str  # step or image
    amount: int
    first: int  # so many of them read and decode their images, the others find them decoded
    kept: int  # bytes of decoded images that the stage keeps
    measure: Callable[..., Pace]  # can be sent to another process
    knobs: Sequence[str]  # of params.yaml: what makes it less


@dataclass(frozen=True)
class World:
    """What there is before anything is trained."""

    table: pa.Table
    truth: dict[str, int]  # hidden classes of the pool, by id
    params: Params


Stages = Mapping[
    str, Callable[[Any, str], list[Work]]
]  # by definition in dvc.yaml: a world and what follows the @ of the stage


def world(params: Params) -> World:
    """Raises BadInput where there is no split yet."""
    check_prepared(SPLIT, "doctor")
    return World(read_split(SPLIT), read_truth(SPLIT), params)


def check_prepared(split: Path, stage: str) -> None:
    """Raises BadInput where `split` is not there, which is when `stage` has run."""
    if not (split / "split.parquet").exists():
        raise BadInput(f"{split} is not there, and what a step takes depends on its images. Run `dvc repro {stage}`")


def _teacher(world: World, _: str) -> list[Work]:
    return training(world, teacher_job(world.table, world.params), "teacher")


def _baseline(world: World, _: str) -> list[Work]:
    params = world.params
    return training(world, labels_alone("baseline", params.baseline, params.network, world.table), "baseline")


def _oracle(world: World, _: str) -> list[Work]:
    """Nothing where the pool has no hidden labels."""
    if not world.truth:
        return []
    return training(world, oracle_job(world.table, world.truth, world.params), "oracle")


def _student(world: World, key: str) -> list[Work]:
    """Nothing where the pool is empty: the teacher's model is passed on."""
    params, settings = world.params, world.params.rounds[int(key)]
    if params.student.method.pool and not len(rows_of(world.table, "pool")):
        return []
    job = every_label(f"student@{key}", params.student, after(params, int(key)), world.table, roles=roles_of(settings))
    given = after(params, int(key) - 1) if params.student.method.teacher == "given" else None
    return training(world, job, "student", given)


def _calibrate(world: World, key: str) -> list[Work]:
    params = world.params
    rows = np.concatenate([rows_of(world.table, "holdout"), rows_of(world.table, "pool")[: params.calibrate.probe]])
    if params.calibrate.in_distribution is not None:  # embeddings of the same and of what is trained on
        rows = np.concatenate([rows, rows_of(world.table, "labelled"), rows])
    return _labelled(world, key, rows, [f"calibrate.probe ({params.calibrate.probe:,})"])


def _pseudo_label(world: World, key: str) -> list[Work]:
    return _labelled(world, key, rows_of(world.table, "pool"), [], cached=False)


def _labelled(world: World, key: str, rows: np.ndarray, knobs: list[str], *, cached: bool = True) -> list[Work]:
    """A round's teacher looks at `rows` as `pseudo_label` says."""
    params = world.params
    views = len(looks(params.pseudo_label.views, flip=params.views.flip))
    network = after(params, int(key) - 1)
    knobs = [*knobs, f"pseudo_label.views ({views})"] if views > 1 else knobs
    return answered(
        world, network, rows, batch=params.pseudo_label.batch, views=views, cached=cached, knobs=knobs
    )  # fmt: skip


def _evaluate(world: World, key: str) -> list[Work]:
    return tested(world, after(world.params, int(key)))


def _reference(world: World, key: str) -> list[Work]:
    if key == "oracle" and not world.truth:
        return []
    return tested(world, after(world.params, world.params.last if key == "candidate" else 0))


def tested(world: World, network: NetworkSpec) -> list[Work]:
    return answered(world, network, rows_of(world.table, "test"), batch=world.params.evaluate.batch)


def _guard(world: World, key: str) -> list[Work]:
    """Teacher and student are asked about the hold-out and a sample of the pool."""
    rows = np.concatenate([rows_of(world.table, "holdout"), rows_of(world.table, "pool")[:SAMPLE]])
    both = (after(world.params, int(key) - 1), after(world.params, int(key)))
    return [work for network in both for work in answered(world, network, rows, batch=BATCH)]


def _judge(world: World, _: str) -> list[Work]:
    """The champion is asked about the test split, where there is one."""
    champion = Path("registry/champion/model.safetensors")
    if not champion.exists():
        return []
    card = load_model(champion)[1]
    return answered(world, card.spec, rows_of(world.table, "test"), batch=JUDGED_AT_ONCE)


def nothing(_: World, __: str) -> list[Work]:
    """Charts, tables and what else is not measured."""
    return []


STAGES: Stages = {
    "teacher": _teacher, "baseline": _baseline, "oracle": _oracle, "calibrate": _calibrate,
    "pseudo_label": _pseudo_label, "student": _student, "evaluate": _evaluate, "guard": _guard,
    "reference": _reference, "judge": _judge, "report": nothing,
}  # fmt: skip


def after(params: Params, number: int) -> NetworkSpec:
    """The network that round `number` ends with; of 0, the first teacher."""
    return params.resized(params.rounds[number].network, f"rounds.{number}.network") if number else params.network


def training(world: World, job: Job, section: str, teacher: NetworkSpec | None = None) -> list[Work]:
    job, given = replace(job, network=drawn(job.network)), drawn(teacher) if teacher else None
    measure = partial(pace.classifier, job, given, SPLIT, world.params)
    return [trained(world.table, job, section, measure, given)]


def trained(table: pa.Table, job: Any, section: str, measure: Callable[[], Pace], teacher: object) -> Work:
    """The steps of a job of any kind, whose settings are the section of that name."""
    train, size = job.train, job.network.image_size
    pool_batch = train.pool_batch if train.method.pool and len(job.pool) else 0
    seen = [(len(job.labeled), train.labelled_batch), *([(len(job.pool), pool_batch)] if pool_batch else [])]
    cached = fits(table.num_rows, size)
    kept = 3 * size**2 * sum(min(images, batch * train.steps) for images, batch in seen) if cached else 0
    new = max(math.ceil(images / batch) for images, batch in seen) if cached else train.steps
    batches = f"{train.labelled_batch} + {pool_batch}" if pool_batch else f"{train.labelled_batch}"
    knobs = [f"{section}.steps ({train.steps:,})", f"{section}.labelled_batch ({train.labelled_batch})"]
    return Work(
        kind=f"{train.method} on {job.network}, {batches} images a step, taught by {teacher}",
        unit="step", amount=train.steps, first=min(new, train.steps), kept=kept, measure=measure,
        knobs=[*knobs, *([f"{section}.pool_batch ({pool_batch})"] if pool_batch else [])],
    )  # fmt: skip


def answered(
    world: World, network: NetworkSpec, rows: np.ndarray, *, batch: int, views: int = 1, cached: bool = True,
    knobs: Sequence[str] = (),
) -> list[Work]:  # fmt: skip
    """`network` is asked about `rows` [n]; nothing where there are none."""
    network = drawn(network)
    measure = partial(
        pace.answers, network, rows, SPLIT, world.params, batch=batch, views=views, cached=cached
    )  # fmt: skip
    kind = f"answers of {network}, {batch} images at a time in {views} view(s), {'kept' if cached else 'read once'}"
    return looked_at(world.table, rows, network.image_size, kind, measure, cached=cached, knobs=knobs)


def looked_at(
    table: pa.Table, rows: np.ndarray, size: int, kind: str, measure: Callable[[], Pace], *, cached: bool = True,
    knobs: Sequence[str] = (),
) -> list[Work]:  # fmt: skip
    """Answers of a network of any kind for `rows` [n], each of which is read and decoded once."""
    if not len(rows):
        return []
    kept = 3 * size**2 * len(rows) if cached and fits(table.num_rows, size) else 0
    return [
        Work(
            kind=kind, unit="image", amount=len(rows), first=len(rows), kept=kept, measure=measure, knobs=list(knobs)
        )
    ]  # fmt: skip


def drawn(network: Spec) -> Spec:
    """The same without published weights, which nobody should download to know how long a step takes."""
    return replace(network, pretrained=False)
