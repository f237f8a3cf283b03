"""What the stages of adaptation share: jobs on a source and a target, and loops with two optimisers."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tasks.adapt_params import Candidate
from tasks.carry import CHECKPOINTS
from tasks.knobs import Train
from tasks.params import Params
from tasks.training import Job, every_label, fingerprint, source, teacher_of
from tutelage.data.batches import batches
from tutelage.data.manifest import classes_of
from tutelage.methods import Method
from tutelage.methods.mic import MIC
from tutelage.methods.supervised import Supervised
from tutelage.models.backbone import Backbone
from tutelage.train.adversarial import Pair, pairs
from tutelage.train.device import accelerator
from tutelage.types import BadInput

Begins = Literal["teacher", "scratch"]
BEGINS: dict[str, Begins] = {"source": "teacher", "scratch": "scratch"}  # of a candidate, in the words of a run


def job_of(name: str, wanted: Candidate, table: pa.Table, params: Params, model: Path, translator: Path | None) -> Job:
    """A candidate as a training run: labelled images are the source's, the pool is the target."""
    assert isinstance(wanted.learn, Method), "a loop of its own is no method"
    train = Train(
        steps=wanted.steps, labelled_batch=wanted.labelled_batch, pool_batch=wanted.pool_batch, method=wanted.learn,
        start=BEGINS[wanted.start],
    )  # fmt: skip
    job = every_label(f"adapt@{name}", train, params.network, table, teacher=model, roles=("labelled",))
    return replace(job, translator=translator if wanted.translated else None)


def two_domains(
    name: str, table: pa.Table, params: Params, *, begins: Begins, start: int, stop: int, batch: tuple[int, int]
) -> Iterator[Pair]:
    """The pairs of steps start..stop-1: `batch` images of the source, in both views, and of the target.

    What begins with a model of the source is shown others than that was: they are drawn by its name.
    """
    method = MIC()  # one that sees the pool; nothing of it is run
    train = Train(steps=stop, labelled_batch=max(2, batch[0]), pool_batch=batch[1], method=method, start=begins)
    made = source(every_label(name, train, params.network, table, roles=("labelled",)), table, params)
    device = accelerator(params.compute).device
    return pairs(batches(made, start=start, stop=stop, workers=params.compute.workers), device=device)


def scratch_of(
    name: str, settings: Any, table: pa.Table, params: Params, model: Path | None, *,
    roles: tuple[str, ...] = ("labelled",), translator: Path | None = None,
) -> Path:  # fmt: skip
    """A folder for the checkpoints of a loop of its own, named after all that it depends on."""
    train = Train(steps=1, labelled_batch=2, pool_batch=0, method=Supervised())
    job = replace(every_label(name, train, params.network, table, teacher=model, roles=roles), translator=translator)
    told = json.dumps([fingerprint(job, table, params), f"{settings}"])
    return CHECKPOINTS / hashlib.sha256(told.encode()).hexdigest()[:16]


def network_of(model: Path, table: pa.Table) -> Backbone:
    """A model, and no committee, that knows the classes of the split. Raises BadInput."""
    network, card = teacher_of(model, classes_of(table))
    if not isinstance(network, Backbone):
        raise BadInput(f"{model} is a committee of {card.members} networks, and one is needed here. Take one of them")
    return network


def about(settings: Any) -> str:
    """Of a loop's settings, as a card has it."""
    return f"{type(settings).__name__}({', '.join(f'{key}={value!r}' for key, value in asdict(settings).items())})"
