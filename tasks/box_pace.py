"""As tasks.pace, of detectors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.box_training import BoxJob, fingerprint, sizes_of, source
from tasks.pace import Pace, asked, chunks, steps
from tasks.params import Params
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.orientations import Orientation
from tutelage.data.scene_batches import scene_batches
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.train.detect import detect
from tutelage.train.loop import begin
from tutelage.types import Sizes


def detector(job: BoxJob, teacher: DetectorSpec | None, split: Path, params: Params) -> Pace:
    """Some steps of `job`, whose teacher is `teacher` with weights as they are drawn."""
    table, optimiser = read_split(split), params.detection.optimiser
    fingerprint(job, table, params)  # as a stage begins
    number = len(classes_of(table))
    torch.manual_seed(params.seed)
    student, given = create_detector(job.network, number), create_detector(teacher, number) if teacher else None
    sizes = Sizes(len(job.labeled), len(job.pool), number, job.train.steps)
    state, made = begin(job.train.method, student, given, sizes, optimiser), source(job, table, params)

    def feed(stop: int) -> Iterator[Any]:
        return scene_batches(made, start=0, stop=stop, workers=params.compute.workers)

    return steps(job.train, state, feed, made.images, optimiser, params.compute)


def found(
    network: DetectorSpec, rows: np.ndarray, split: Path, params: Params, *, batch: int, ways: Sequence[Orientation]
) -> Pace:
    """Some batches of `rows` [n], in which a detector finds objects, looking at each image in all `ways`."""
    table = read_split(split)
    images = Images.open(table, network.image_size, letterbox=True)
    torch.manual_seed(params.seed)
    said = detect(
        create_detector(network, len(classes_of(table))), images, chunks(rows, batch, params.compute), sizes_of(table),
        compute=params.compute, ways=ways,
    )  # fmt: skip
    return asked(said, images, params.compute)
