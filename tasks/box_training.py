"""What the training stages of detectors share: from a split with boxes to weights, continued where it was cut off."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tasks.box_params import TrainDetector
from tasks.carry import CHECKPOINTS, carry_out, results
from tasks.params import Params
from tasks.training import rows_of, seed_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, digest_of
from tutelage.data.pseudo_boxes import PseudoBoxes
from tutelage.data.scene_batches import SceneSource, scene_batches
from tutelage.data.scene_views import strong_scene, weak_scene, whole_scene
from tutelage.data.scenes import Annotations, read_boxes, unsearched_rows
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.models.files import load_detector, save_detector
from tutelage.train.device import arithmetic
from tutelage.train.loop import Run, begin
from tutelage.types import BadInput, Detector, DetectorNets, Sizes


@dataclass(frozen=True, kw_only=True)
class BoxJob:
    """One training run of a detector, as data."""

    name: str  # for people: progress and messages
    train: TrainDetector
    network: DetectorSpec
    annotations: Annotations  # by row of the split
    labeled: np.ndarray  # rows of the split [n]
    pool: np.ndarray  # rows of the split [m]
    pseudo: PseudoBoxes  # of `pool`
    teacher: Path | None = None  # weights of the teacher


def train_detector(job: BoxJob, table: pa.Table, params: Params, out: Path, notes: dict[str, Any]) -> Path:
    """Train `job` on rows of `table`, write model.safetensors and curve.csv. Continues where it was cut off."""
    if not len(job.labeled):
        raise BadInput(f"{job.name} has no image with boxes to train on. Mark some, or raise detection.split.images")
    if not classes_of(table):
        raise BadInput(
            "the labelled JSON has no category, so there is nothing to find. Name the classes in `categories`"
        )
    state, scratch = _start(job, table, params), CHECKPOINTS / fingerprint(job, table, params)
    made, stop = source(job, table, params), job.train.steps
    carry_out(
        job.name, job.train.method, state,
        lambda step: scene_batches(made, start=step, stop=stop, workers=params.compute.workers),
        steps=stop, optimiser=params.detection.optimiser, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch, notes) as folder:
        save_detector(
            folder / "model.safetensors", state.average, classes=classes_of(table), method=str(job.train.method)
        )
    return out


def every_box(
    name: str, train: TrainDetector, network: DetectorSpec, split: Path, table: pa.Table, *,
    roles: tuple[str, ...] = ("labelled", "holdout"), teacher: Path | None = None,
) -> BoxJob:  # fmt: skip
    """A run on the boxes of these roles, and on the pool as it is: without boxes from before the run."""
    rows = np.sort(np.concatenate([rows_of(table, role) for role in roles]))
    pool = pool_rows(split, table)
    return BoxJob(
        name=name, train=train, network=network, annotations=Annotations.of(table, read_boxes(split)), labeled=rows,
        pool=pool, pseudo=PseudoBoxes.none(len(pool)), teacher=teacher,
    )  # fmt: skip


def pool_rows(split: Path, table: pa.Table) -> np.ndarray:
    """Rows of the pool, and after them the labelled images in which nobody looked for some class: what a teacher finds
    of it there is all that is known of it."""
    boxes = read_boxes(split)
    partly = pc.is_in(
        table["id"], value_set=boxes.filter(pa.array(unsearched_rows(boxes, table)))["id"].combine_chunks()
    )
    joining = pc.and_(partly, pc.equal(table["role"], "labelled")).to_numpy(zero_copy_only=False)
    return np.concatenate([rows_of(table, "pool"), np.flatnonzero(joining)])


def fingerprint(job: BoxJob, table: pa.Table, params: Params) -> str:
    """A name for a run's checkpoints that no other data, params or teacher shares."""
    told = [asdict(p) for p in (params.detection.views, params.detection.optimiser, job.network, job.train)]
    about = [job.name, params.seed, str(job.train.method), told, arithmetic(params.compute)]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(digest_of(table))
    for part in (job.annotations, job.pseudo):
        for array in asdict(part).values():
            digest.update(np.ascontiguousarray(array).tobytes())
    for array in (job.labeled, job.pool):
        digest.update(np.ascontiguousarray(array).tobytes())
    if job.teacher is not None:
        digest.update(job.teacher.read_bytes())
    return digest.hexdigest()[:16]


def sizes_of(table: pa.Table) -> np.ndarray:
    """Width and height of the images of a split [n, 2]."""
    return np.stack([table[name].to_numpy() for name in ("width", "height")], axis=1).astype(np.int64)


def _start(job: BoxJob, table: pa.Table, params: Params) -> Run[Detector, DetectorNets]:
    torch.manual_seed(params.seed)
    classes = classes_of(table)
    sizes = Sizes(len(job.labeled), len(job.pool), len(classes), job.train.steps)
    return begin(job.train.method, *_detectors(job, classes), sizes, params.detection.optimiser)


def _detectors(job: BoxJob, classes: list[str]) -> tuple[Detector, Detector | None]:
    student = create_detector(job.network, len(classes))
    if job.teacher is None:
        return student, None
    teacher, card = load_detector(job.teacher)
    if card.classes != classes:
        raise BadInput(f"{job.teacher} knows the classes {card.classes}, the split {classes}. Train the teacher again")
    if job.train.start == "teacher":
        if card.spec != job.network:
            raise BadInput(
                f"{job.name}.start is 'teacher', but the teacher is {card.spec} and the student {job.network}. "
                "Write start: scratch"
            )
        student.load_state_dict(teacher.state_dict())
    return student, teacher


def source(job: BoxJob, table: pa.Table, params: Params) -> SceneSource:
    size, views = job.network.image_size, params.detection.views
    return SceneSource(
        images=Images.open(table, size, letterbox=True), sizes=sizes_of(table), annotations=job.annotations,
        classes=len(classes_of(table)), labeled=job.labeled, pool=job.pool, pseudo=job.pseudo,
        whole=whole_scene(views, size), weak=weak_scene(views, size), strong=strong_scene(views, size),
        visible=views.visible, labeled_batch=job.train.labelled_batch,
        pool_batch=job.train.pool_batch if job.train.method.pool else 0,
        seed=seed_of(job.name, job.train.start, params), unread=job.train.method.unread,
    )  # fmt: skip
