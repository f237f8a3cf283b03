"""Domains that have turns: the labelled images of one at a time, and scores on the hold-out that plan the next turn."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F

from tasks.carry import CHECKPOINTS, carry_on, results
from tasks.params import Params
from tasks.training import Job, as_seen, check_unlearned, fingerprint, labels_of, rows_of, source, start
from tasks.turn_params import PlanTurns
from tutelage.data.batches import batches
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.models.backbone import Backbone
from tutelage.models.files import save_model
from tutelage.train import turns
from tutelage.train.device import accelerator
from tutelage.train.predict import predict
from tutelage.train.turns import Plan, Scores, Turns
from tutelage.types import BadInput, Batch, Network


def train_in_turns(
    job: Job, wanted: PlanTurns, table: pa.Table, params: Params, *, out: Path, notes: dict[str, Any] | None = None
) -> Path:
    """Train `job` on the labelled images of one domain a turn: model.safetensors, curve.csv, turns.json. Continues
    where it was cut off.

    The score of a domain is minus the logarithm of the loss on its held-out images. The pool is seen at every step.
    Raises BadInput where the labelled images are of one domain, or one has none that is held out, and where the job
    starts from a model that has learned from the hold-out.
    """
    if job.teacher is not None and job.train.start == "teacher":
        check_unlearned(job.teacher.parent)
    domains = np.array(table["domain"].to_pylist())
    own = domains[job.labeled]
    held = held_out(table, domains, sorted(set(own.tolist())))
    images = Images.open(table, job.network.image_size)

    def score(net: Network) -> Scores:
        return {domain: _score(net, images, rows, labels_of(table, rows), params) for domain, rows in held.items()}

    turn = Turns(every=wanted.every, guide=wanted.learn, subjects=tuple(held), score=score)
    run = turns.begin(start(job, table, params), turn, seed=params.seed)
    scratch = CHECKPOINTS / f"{fingerprint(job, table, params)}-{_digest(wanted, own, held)}"

    def feed(plan: Plan[str], first: int, stop: int) -> Iterable[Batch]:
        chosen = np.isin(own, plan.labels)
        taught = replace(job, labeled=job.labeled[chosen], labels=job.labels[chosen])
        seen = batches(source(taught, table, params), start=first, stop=stop, workers=params.compute.workers)
        return as_seen(job, seen, params)

    carry_on(
        job.name, run,
        lambda: turns.fit(
            job.train.method, run, turn, feed, params.optimiser, steps=job.train.steps,
            accelerator=accelerator(params.compute), diary=scratch / "diary",
        ),
        steps=job.train.steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    told = [{"step": each.step, "domain": each.labels[0], "scores": each.scores} for each in run.over]
    with results(out, scratch, {"turns.json": {"turns": told}, **(notes or {})}) as folder:
        trained = job.train.method.kept(run.average)
        assert isinstance(trained, Backbone)
        about = f"{job.train.method}, in turns by {wanted.learn}"
        save_model(folder / "model.safetensors", trained, classes=classes_of(table), method=about)
    return out


def held_out(table: pa.Table, domains: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Rows of the hold-out by domain. Raises BadInput."""
    if len(names) < 2:
        raise BadInput(
            f"turns choose among the domains of the labelled images, and all are of one ({names[0]!r}). Write "
            "adapt.ingest.source: {NAME: folder, NAME: folder}, give the CSV a column domain, or leave `turns` out"
        )
    rows = rows_of(table, "holdout")
    found = {name: rows[domains[rows] == name] for name in names}
    bad = [name for name, own in found.items() if not len(own)]
    if bad:
        raise BadInput(
            f"turns score each domain on its part of the hold-out, which has no image of {bad[0]!r}. Raise "
            "adapt.holdout, or label more images of it"
        )
    return found


def _score(net: Network, images: Images, rows: np.ndarray, labels: np.ndarray, params: Params) -> float:
    logits = predict(net, images, rows, compute=params.compute, batch=params.evaluate.batch)
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    return -float(loss.clamp_min(1e-8).log())


def _digest(wanted: PlanTurns, own: np.ndarray, held: dict[str, np.ndarray]) -> str:
    """Names what a run is planned and judged by."""
    told = f"{asdict(wanted)} {own.tolist()} { {name: rows.tolist() for name, rows in held.items()} }"
    return hashlib.sha256(told.encode()).hexdigest()[:8]
