"""One way to adapt to a target without labels."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.adapt_scenes import as_scenes, job_of, truth_of
from tasks.multi_params import TrainMulti
from tasks.multi_training import train_multi
from tasks.multi_truth import Unlabelled
from tasks.params import Params
from tasks.scene_loops import train_in_loop
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.methods.multitask import MultiMethod
from tutelage.methods.multitask.must import MuST
from tutelage.models.multi import MultiNet
from tutelage.train.device import accelerator
from tutelage.train.norms import renorm
from tutelage.train.predict import batches_of
from tutelage.types import BadInput


def adapt_scenes_student(split: Path, source: Path, *, params: Params, out: Path) -> Path:
    """Train the candidate that `out` names on labels of the source and images of the target: model.safetensors,
    curve.csv.

    It begins with the network in `source`, unless it is to begin from scratch. No label of the target is read.
    """
    table, candidates, known = read_split(split), params.adapt_scenes.candidates, as_scenes(params)
    if out.name not in candidates:
        names = ", ".join(candidates)
        raise BadInput(f"{out} does not say its candidate: write work/adapt_scenes/candidates/NAME, of {names}")
    wanted, truth, pool = candidates[out.name], truth_of(split, table, known), rows_of(table, "pool")
    known = replace(known, multitask=replace(known.multitask, views=wanted.views or known.multitask.views))
    if not len(pool):
        raise BadInput("the target has no image, so nothing can adapt to it. Set adapt_scenes.ingest.pool")
    method = wanted.learn if isinstance(wanted.learn, MultiMethod) else MuST()  # a loop of its own runs none
    train = TrainMulti(
        steps=wanted.steps, labelled_batch=wanted.labelled_batch, pool_batch=wanted.pool_batch, method=method
    )
    told, name = Unlabelled(truth, pool), f"adapt_scenes@{out.name}"
    job = replace(
        job_of(name, train, truth, rows_of(table, "labelled"), told, known),
        start=source if wanted.start == "source" else None, again=wanted.start == "source",
    )  # fmt: skip

    def finish(net: MultiNet) -> None:
        if wanted.norms == "target":
            _renormed(net, table, pool, known)

    if isinstance(wanted.learn, MultiMethod):
        return train_multi(job, table, known, out, finish=finish)
    return train_in_loop(wanted, job, table, known, out, finish=finish)


def _renormed(net: MultiNet, table: pa.Table, pool: np.ndarray, params: Params) -> None:
    """Give `net` the target's statistics, of images as they are. In any order, as neighbours in a film are alike; in
    batches of one size, as each counts alike."""
    rows, batch = np.random.default_rng(params.seed).permutation(pool), params.multitask.evaluate.batch
    images = Images.open(table, net.spec.detector.image_size, letterbox=True)
    chunks = np.array_split(rows, math.ceil(len(rows) / batch))
    device = accelerator(params.compute).device
    renorm(net.to(device).body, batches_of(images, chunks, compute=params.compute, device=device))
