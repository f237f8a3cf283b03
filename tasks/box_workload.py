"""What the stages of detection will do, as far as it takes long: steps of training, images to find objects in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks import box_pace, pace
from tasks.box_pace import found
from tasks.box_signals import SAMPLE
from tasks.box_training import BoxJob, every_box, pool_rows
from tasks.detector import detector_job
from tasks.params import Params
from tasks.student import roles_of
from tasks.training import Job, rows_of
from tasks.workload import Stages, Work, check_prepared, drawn, looked_at, nothing, trained
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.orientations import Orientation
from tutelage.data.pseudo_labels import PseudoLabels
from tutelage.data.scenes import read_boxes
from tutelage.models.detectors import DetectorSpec
from tutelage.models.files import load_detector
from tutelage.train.predict import looks

SPLIT = Path("work/detection/split")
ONE_WAY = [Orientation()]


@dataclass(frozen=True)
class Scenes:
    """What there is before a detector is trained."""

    table: pa.Table
    params: Params


def world(params: Params) -> Scenes:
    """Raises BadInput where there is no split yet."""
    check_prepared(SPLIT, "scenes_split")
    return Scenes(read_split(SPLIT), params)


def _detector(world: Scenes, key: str) -> list[Work]:
    job = detector_job(key, SPLIT, world.table, world.params)
    return [] if isinstance(job, str) else _trained(world, job, f"detection.{key}")


def _student(world: Scenes, key: str) -> list[Work]:
    """Nothing where the pool is empty: the teacher's model is passed on."""
    wanted, pool = world.params.detection, pool_rows(SPLIT, world.table)
    if wanted.student.method.pool and not len(pool):
        return []
    roles, network = roles_of(wanted.rounds[int(key)]), _after(world.params, int(key))
    job = every_box(f"box_student@{key}", wanted.student, network, SPLIT, world.table, roles=roles)
    given = _after(world.params, int(key) - 1) if wanted.student.method.teacher == "given" else None
    return _trained(world, job, "detection.student", given)


def _calibrate(world: Scenes, key: str) -> list[Work]:
    probe = world.params.detection.calibrate.probe
    rows = np.concatenate([rows_of(world.table, "holdout"), pool_rows(SPLIT, world.table)[:probe]])
    return _labelled(world, _after(world.params, int(key) - 1), rows, [f"detection.calibrate.probe ({probe:,})"])


def _label(world: Scenes, key: str) -> list[Work]:
    """Where boxes of two detectors are merged, both are asked."""
    params, pool = world.params, pool_rows(SPLIT, world.table)
    alone = params.detection.rounds[int(key)].boxes == "teacher"
    asked = [_after(params, int(key) - 1), *([] if alone else [_after(params, 0)])]
    return [work for network in asked for work in _labelled(world, network, pool, [])]


def _labelled(world: Scenes, network: DetectorSpec, rows: np.ndarray, knobs: Sequence[str]) -> list[Work]:
    wanted = world.params.detection
    knobs = [*knobs, *(["detection.label.orientations"] if wanted.label.orientations else [])]
    return _found(world, network, rows, batch=wanted.label.batch, ways=wanted.ways, knobs=knobs)


def _names(world: Scenes, key: str) -> list[Work]:
    """The crops are cut out later, so whole scenes stand in for them, and labelled ones tell how many a scene has."""
    wanted = world.params.detection.names
    if wanted is None:
        return []
    own = replace(world.params, network=wanted.network, views=wanted.views, optimiser=wanted.optimiser)
    labelled, pool = rows_of(world.table, "labelled"), pool_rows(SPLIT, world.table)
    number = len(classes_of(world.table))
    job = Job(
        name=f"box_names@{key}", train=wanted.train, network=drawn(wanted.network), labeled=labelled,
        labels=np.zeros(len(labelled), np.int64), pool=pool, pseudo=PseudoLabels.none(len(pool), number),
    )  # fmt: skip
    steps = trained(
        world.table, job, "detection.names.train", partial(pace.classifier, job, None, SPLIT, own), None
    )  # fmt: skip
    views = len(looks(2, flip=own.views.flip))
    measure = partial(pace.answers, job.network, pool, SPLIT, own, batch=own.evaluate.batch, views=views)
    named = looked_at(world.table, pool, job.network.image_size, f"names by {job.network}", measure)
    each = read_boxes(SPLIT).num_rows / max(1, len(labelled) + len(rows_of(world.table, "holdout")))
    crops = round(each * len(pool))
    return [replace(steps, first=0), *(replace(work, amount=crops, first=crops, unit="crop") for work in named)]


def _guard(world: Scenes, key: str) -> list[Work]:
    """The teacher is asked about the hold-out, the student about a sample of the pool too."""
    held, pool = rows_of(world.table, "holdout"), pool_rows(SPLIT, world.table)
    batch, params = world.params.detection.label.batch, world.params
    old = _found(world, _after(params, int(key) - 1), held, batch=batch)
    return [*old, *_found(world, _after(params, int(key)), np.concatenate([held, pool[:SAMPLE]]), batch=batch)]


def _evaluate(world: Scenes, key: str) -> list[Work]:
    if key == "oracle" and isinstance(detector_job(key, SPLIT, world.table, world.params), str):
        return []
    return _tested(world, _after(world.params, world.params.detection.last if key == "candidate" else 0))


def _fuse(world: Scenes, _: str) -> list[Work]:
    wanted = world.params.detection
    asked = [] if wanted.fuse.weights is None else [0, *sorted(wanted.rounds)]
    return [work for number in asked for work in _tested(world, _after(world.params, number))]


def _judge(world: Scenes, _: str) -> list[Work]:
    """The champion is asked about the test split, where there is one."""
    champion = Path("registry/detector/champion/model.safetensors")
    return _tested(world, load_detector(champion)[1].spec) if champion.exists() else []


STAGES: Stages = {
    "detector": _detector, "box_calibrate": _calibrate, "box_label": _label, "box_crops": nothing, "box_names": _names,
    "box_student": _student, "box_guard": _guard, "box_evaluate": _evaluate, "box_fuse": _fuse, "box_judge": _judge,
    "box_report": nothing,
}  # fmt: skip


def _after(params: Params, number: int) -> DetectorSpec:
    """The network that round `number` ends with; of 0, the first teacher."""
    wanted = params.detection
    return replace(wanted.network, **wanted.rounds[number].network) if number else wanted.network


def _trained(world: Scenes, job: BoxJob, section: str, teacher: DetectorSpec | None = None) -> list[Work]:
    job, given = replace(job, network=drawn(job.network)), drawn(teacher) if teacher else None
    measure = partial(box_pace.detector, job, given, SPLIT, world.params)
    return [trained(world.table, job, section, measure, given)]


def _tested(world: Scenes, network: DetectorSpec) -> list[Work]:
    return _found(world, network, rows_of(world.table, "test"), batch=world.params.detection.evaluate.batch)


def _found(
    world: Scenes, network: DetectorSpec, rows: np.ndarray, *, batch: int, ways: Sequence[Orientation] = ONE_WAY,
    knobs: Sequence[str] = (),
) -> list[Work]:  # fmt: skip
    network = drawn(network)
    measure = partial(found, network, rows, SPLIT, world.params, batch=batch, ways=ways)
    kind = f"boxes of {network}, {batch} images at a time in {len(ways)} way(s)"
    return looked_at(world.table, rows, network.image_size, kind, measure, knobs=knobs)
