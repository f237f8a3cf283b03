"""Two searches for a student, and its training: a choice among given networks, and a network that is grown."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tasks.carry import carry_on
from tasks.finished import finish
from tasks.io import as_json, read_json, write_whole
from tasks.loops import NASStudent, OracleGrowth
from tasks.teaching import LEARNED, Teaching
from tasks.training import run, source
from tutelage.data.batches import batches
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import read_spec
from tutelage.models.grown import Architecture
from tutelage.train import checkpoint, oracle_search
from tutelage.train.device import accelerator
from tutelage.train.nas_student import Rated, Search, fitting, search
from tutelage.train.oracle_search import Grown
from tutelage.types import Sizes


def choose_student(teaching: Teaching, learn: NASStudent, out: Path) -> Path:
    """The best of the given networks, trained. A search that was cut goes on with the networks that are left."""
    scratch = teaching.scratch()
    rated = _rate(teaching, learn, scratch / "rated.json")
    chosen = max(rated, key=lambda one: one.score)
    print(f"{teaching.name}: {chosen.spec} sees images most as the teacher does, {chosen.score:.3f}", flush=True)
    notes = {"search.json": {"chosen": asdict(chosen.spec), "candidates": [asdict(one) for one in rated]}}
    run(teaching.job(learn.method, chosen.spec), teaching.table, teaching.params, out, notes | LEARNED)
    finish(out, scratch)
    return out


def _rate(teaching: Teaching, learn: NASStudent, path: Path) -> list[Rated]:
    params, classes = teaching.params, len(classes_of(teaching.table))
    specs = tuple(replace(teaching.network, **changes) for changes in learn.networks)
    wanted = Search(
        specs=specs, parameters=learn.parameters, method=learn.method, steps=learn.search_steps, seed=params.seed
    )
    known = [_rated(one) for one in read_json(path)] if path.exists() else []
    left = [spec for spec in fitting(wanted, classes) if spec not in {one.spec for one in known}]
    job = teaching.job(learn.method, teaching.network)
    made = source(job, teaching.table, params)
    engine, sizes = accelerator(params.compute), Sizes(len(job.labeled), len(job.pool), classes, learn.search_steps)
    for one in search(
        replace(wanted, specs=tuple(left)), teaching.teacher(),
        lambda: batches(made, start=0, stop=learn.search_steps, workers=params.compute.workers),
        _probe(teaching, learn.probe), sizes=sizes, accelerator=engine,
    ) if left else ():  # fmt: skip
        known.append(one)
        write_whole(path, as_json([asdict(each) for each in known]).encode())
    return known


def _rated(written: dict[str, Any]) -> Rated:
    return Rated(read_spec(written["spec"]), written["parameters"], written["score"])


def _probe(teaching: Teaching, number: int) -> torch.Tensor:
    rows = teaching.held_out()[:number]
    images = Images.open(teaching.table, teaching.network.image_size).many(rows)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)


def grow_student(teaching: Teaching, learn: OracleGrowth, out: Path) -> Path:
    """A network, what a controller added behind its stages, trained from scratch by oracle_kd_nas."""
    scratch = teaching.scratch()
    architecture = _grown(teaching, learn, scratch)
    network: NetworkSpec = replace(teaching.network, added=architecture)
    notes = {"search.json": {"added": [list(layer) for layer in architecture]}}
    run(teaching.job(learn.search.method, network), teaching.table, teaching.params, out, notes | LEARNED)
    finish(out, scratch)
    return out


def _grown(teaching: Teaching, learn: OracleGrowth, scratch: Path) -> Architecture:
    params, steps = teaching.params, learn.search_steps
    device = accelerator(params.compute).device
    teacher = teaching.teacher()
    torch.manual_seed(params.seed)
    student = Grown(create(teaching.network, len(classes_of(teaching.table))), depth=learn.depth)
    found = oracle_search.begin(learn.search, student.to(device), params.optimiser)
    carry_on(
        f"{teaching.name} search", found,
        lambda: oracle_search.fit(
            learn.search, found, teacher, teaching.lessons(start=found.step, stop=steps), params.optimiser, steps=steps
        ),
        steps=steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    checkpoint.write(found.state_dict(), scratch / "run.pt")  # the training that follows may be cut too
    return oracle_search.best(found)
