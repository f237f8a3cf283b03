"""One way to adapt to a target without labels."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from tasks.adapt_scenes import as_scenes, job_of, truth_of
from tasks.adapt_scenes_params import SceneCandidate
from tasks.adapting import about
from tasks.carry import CHECKPOINTS, carry_on, results
from tasks.multi_params import TrainMulti
from tasks.multi_training import MultiJob, fingerprint, fresh, source_of, train_multi
from tasks.multi_truth import Unlabelled
from tasks.params import Params
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.multi_batches import multi_batches
from tutelage.methods.multitask.must import MuST
from tutelage.models.multi import MultiNet
from tutelage.models.multi_files import save_multi
from tutelage.models.multi_levels import MapLevels
from tutelage.train import adaptsegnet
from tutelage.train.adaptsegnet import AdaptSegNet
from tutelage.train.adversarial import dense_pairs
from tutelage.train.device import accelerator
from tutelage.train.loop import Step
from tutelage.train.norms import renorm
from tutelage.train.predict import batches_of
from tutelage.types import BadInput

Finish = Callable[[MultiNet], None]  # what is done to a network before it is saved


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
    method = MuST() if isinstance(wanted.learn, AdaptSegNet) else wanted.learn  # a loop of its own runs none
    train = TrainMulti(
        steps=wanted.steps, labelled_batch=wanted.labelled_batch, pool_batch=wanted.pool_batch, method=method
    )
    told, name = Unlabelled(truth, pool), f"adapt_scenes@{out.name}"
    job = replace(
        job_of(name, train, truth, rows_of(table, "labelled"), told, known),
        start=source if wanted.start == "source" else None,
    )

    def finish(net: MultiNet) -> None:
        if wanted.norms == "target":
            _renormed(net, table, pool, known)

    if not isinstance(wanted.learn, AdaptSegNet):
        return train_multi(job, table, known, out, finish=finish)
    return _with_critics(wanted, job, table, known, out, finish)


def _with_critics(
    wanted: SceneCandidate, job: MultiJob, table: pa.Table, params: Params, out: Path, finish: Finish
) -> Path:
    learner, settings, classes = wanted.learn, params.multitask.optimiser, classes_of(table)
    assert isinstance(learner, AdaptSegNet)
    device, size = accelerator(params.compute).device, job.network.detector.image_size
    student = MapLevels(fresh(job, table, params), second=wanted.levels == 2).to(device)
    state = adaptsegnet.begin(learner, student, torch.zeros(2, 3, size, size, device=device), settings)
    made = source_of(job, table, params)

    def steps() -> Iterator[Step]:
        feed = multi_batches(made, start=state.step, stop=wanted.steps, workers=params.compute.workers)
        return adaptsegnet.fit(learner, state, dense_pairs(feed, device=device), settings, steps=wanted.steps)

    key = f"{fingerprint(job, table, params)} {learner} {wanted.levels}"
    scratch = CHECKPOINTS / hashlib.sha256(key.encode()).hexdigest()[:16]
    carry_on(job.name, state, steps, steps=wanted.steps, compute=params.compute, scratch=scratch)
    with results(out, scratch) as folder:
        assert isinstance(state.average, MapLevels)
        finish(state.average.network)
        save_multi(folder / "model.safetensors", state.average.network, classes=classes, method=about(learner))
    return out


def _renormed(net: MultiNet, table: pa.Table, pool: np.ndarray, params: Params) -> None:
    """Give `net` the target's statistics, of images as they are. In any order, as neighbours in a film are alike."""
    rows, batch = np.random.default_rng(params.seed).permutation(pool), params.multitask.evaluate.batch
    images = Images.open(table, net.spec.detector.image_size, letterbox=True)
    chunks = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    device = accelerator(params.compute).device
    renorm(net.to(device).body, batches_of(images, chunks, compute=params.compute, device=device))
