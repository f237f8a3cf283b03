"""What the stages share that adapt pixels or boxes: their params, what is known, training runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.box_params import ScenesSplit
from tasks.multi_params import TrainMulti
from tasks.multi_said import Told
from tasks.multi_split import SHARES
from tasks.multi_training import MultiJob
from tasks.multi_truth import Given, Truth, Unlabelled
from tasks.params import Params
from tutelage.data.scenes import read_boxes

WORDS = {  # refusals name the section that was read, whose labelled images are all of the source's
    "detection.ingest.pool, or lower detection.split.images": "adapt_scenes.ingest.pool",
    "detection.": "adapt_scenes.",
}


def as_scenes(params: Params) -> Params:
    """Params whose `detection` and `multitask` are those of `adapt_scenes`, for what is written for these sections.

    Nothing is calibrated here, so no label of the source is held out.
    """
    own = params.adapt_scenes
    detection = params.detection.seen_by(own.network.detector, ingest=own.ingest, split=ScenesSplit(holdout=0.0))
    multitask = replace(
        params.multitask, tasks=list(own.network.tasks), start=None, network=own.network, views=own.views,
        optimiser=own.optimiser, evaluate=own.evaluate, student=replace(params.multitask.student, hears=None),
    )  # fmt: skip
    return replace(params, detection=detection, multitask=multitask)


def unmasked(boxes: pa.Table) -> set[str]:
    """Images of which an object has no mask."""
    return {name for name, mask in zip(*(boxes[k].to_pylist() for k in ("id", "mask")), strict=True) if not mask}


def truth_of(split: Path, table: pa.Table, params: Params, *, hidden: bool = False) -> Truth:
    """What everybody may know; with `hidden` the pool's labels instead. `params` as as_scenes makes them."""
    boxes = read_boxes(split, "truth.parquet") if hidden else read_boxes(split)
    size = params.multitask.network.detector.image_size
    return Truth.of(table, boxes, SHARES.empty_table(), size=size, unit=params.multitask.depth_unit)


def job_of(
    name: str, train: TrainMulti, truth: Truth, rows: np.ndarray, told: Told | Unlabelled, params: Params
) -> MultiJob:
    """A run on the labels of `rows`, from scratch."""
    given = Given(truth, rows, params.multitask.tasks * len(rows))
    return MultiJob(name=name, train=train, network=params.multitask.network, given=given, told=told)
