"""One method with one seed, on what all methods of a comparison share: how right it is and what a step costs."""

import base64
import hashlib
import json
import re
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.answers import ask, rows_and_labels
from tasks.io import as_json, read_json, write_whole
from tasks.knobs import Train
from tasks.params import Params
from tasks.progress import Progress
from tasks.training import Job, check_unlearned, every_label, fingerprint, rows_of, source, start
from tutelage.data.batches import batches
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.pseudo_labels import PseudoLabels, read_known
from tutelage.methods import METHODS, Method
from tutelage.models.files import Card, load_model
from tutelage.train.cost import Timed, kept_for_backward, timed
from tutelage.train.device import accelerator
from tutelage.train.loop import Run, fit
from tutelage.types import BadInput, Diverged, Nets, Network

PLAIN = "supervised"  # training without a teacher and without a pool: what every gain is measured against


@dataclass(frozen=True)
class Arena:
    """What all methods of a comparison share."""

    table: pa.Table
    teacher: Path
    pool: np.ndarray  # rows of the split, none for a budget of labels alone
    pseudo: PseudoLabels  # of the pool
    params: Params

    @property
    def measured(self) -> list[str]:
        """Ids of the images that answers are of, in their order."""
        ids: list[str] = (
            self.table["id"].take(pa.array(rows_of(self.table, self.params.compare.measured_on))).to_pylist()
        )
        return ids


@dataclass(frozen=True)
class Trial:
    """A result file. `right` is packed bits [n], in the order of the split; `failed` says why there is no result."""

    key: str  # changes with every setting, the teacher, the data and the method's own fields
    name: str
    method: str
    seed: int
    images: int = 0
    right: str = ""
    seconds_per_step: float | None = None  # median, without waiting for data
    memory: int | None = None  # bytes that a step needs, counted: tutelage.train.cost
    device: str = ""
    failed: str | None = None

    @property
    def answers(self) -> np.ndarray:
        """Whether each image was answered right [n]."""
        bits = np.frombuffer(base64.b64decode(self.right), np.uint8)
        return np.unpackbits(bits, count=self.images).astype(bool)


def arena(split: Path, teacher: Path, labels: Path | None, params: Params) -> Arena:
    """Read what is shared. BadInput for pseudo-labels of another pool or teacher, and for an empty test."""
    table = read_split(split)
    if params.compare.measured_on == "holdout":
        check_unlearned(teacher)
    model = teacher / "model.safetensors"
    card = load_model(model)[1]
    rows_and_labels(table, card, params.compare.measured_on)
    pool = rows_of(table, "pool")[: None if params.compare.pool_batch else 0]
    pseudo = PseudoLabels.none(len(pool), len(card.classes))
    if labels is not None and len(pool):
        _same_teacher(labels, card)
        ids = table["id"].take(pa.array(pool)).to_pylist()
        pseudo, seen = read_known(labels, ids, len(card.classes))
        pool = pool[seen]
    return Arena(table, model, pool, pseudo, params)


def entrants(params: Params) -> dict[str, Method]:
    """The methods by name, plain training first."""
    asked = params.compare.methods
    every = {name: cls() for name, cls in METHODS.items()} if asked is None else asked
    return {PLAIN: METHODS[PLAIN]()} | every


def one(place: Arena, name: str, method: Method, seed: int, out: Path) -> Trial:
    """The result file of a method and a seed: read where it is there and of these settings, else made."""
    job, params = _job(place, name, method), replace(place.params, seed=seed)
    key, path = _key(job, place, params), path_of(out, name, seed)
    if (found := _read(path, key)) is not None:
        return found
    trial = Trial(key, name, f"{method}", seed)
    try:
        trial = _measure(trial, job, place, params)
    except (BadInput, Diverged) as error:
        if name == PLAIN:
            raise  # what fails without a method is no method's fault, and without it there is no gain
        trial = replace(trial, failed=f"{error}")
    write_whole(path, as_json(asdict(trial)).encode())
    return trial


def finished(place: Arena, name: str, method: Method, seed: int, out: Path) -> Trial | None:
    """A result file of these settings; None where there is none."""
    params = replace(place.params, seed=seed)
    return _read(path_of(out, name, seed), _key(_job(place, name, method), place, params))


def path_of(out: Path, name: str, seed: int) -> Path:
    plain = re.sub(r"[^a-z0-9_.]+", "-", name.lower())
    apart = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return out / "results" / f"{plain}{apart}-{seed}.json"


def _read(path: Path, key: str) -> Trial | None:
    if not path.exists():
        return None
    content: dict[str, Any] = read_json(path)
    return Trial(**content) if content.get("key") == key else None


def _job(place: Arena, name: str, method: Method) -> Job:
    settings = place.params.compare
    train = Train(
        steps=settings.steps, labelled_batch=settings.labelled_batch, pool_batch=settings.pool_batch, method=method,
        start=settings.start,
    )  # fmt: skip
    network = place.params.resized(settings.network, "compare.network")
    roles = ("labelled",) if settings.measured_on == "holdout" else ("labelled", "holdout")
    job = every_label(f"compare {name}", train, network, place.table, teacher=place.teacher, roles=roles)
    return replace(job, pool=place.pool, pseudo=place.pseudo)


def _key(job: Job, place: Arena, params: Params) -> str:
    told = [fingerprint(job, place.table, params), asdict(params.compute), params.compare.measured_on]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _measure(trial: Trial, job: Job, place: Arena, params: Params) -> Trial:
    state, seconds, memory = _train(job, place, params)
    trained = job.train.method.kept(state.average)
    classes = classes_of(place.table)
    card = Card(spec=job.network, classes=classes, method=trial.method, sha256="", parameters=0)
    said = ask(
        place.table, trained, card, compute=params.compute, batch=params.evaluate.batch,
        role=params.compare.measured_on,
    )  # fmt: skip
    return replace(
        trial,
        images=len(said.right),
        right=base64.b64encode(np.packbits(said.right).tobytes()).decode(),
        seconds_per_step=seconds,
        memory=memory,
        device=f"{accelerator(params.compute).device}",
    )


def _train(job: Job, place: Arena, params: Params) -> tuple[Run[Network, Nets], float, int]:
    """A run to its end, the seconds of a step and the bytes that it needs. One that was cut off starts again."""
    engine = accelerator(params.compute)
    state = start(job, place.table, params)
    seen = source(replace(job, name="compare"), place.table, params)  # the same images and views by every method
    feed = Timed(batches(seen, start=0, stop=job.train.steps, workers=params.compute.workers))
    steps = fit(
        job.train.method,
        state,
        feed,
        params.optimiser,
        steps=job.train.steps,
        accelerator=engine,
        accumulate=params.compute.accumulate,
    )
    took: list[float] = []
    with Progress(f"{job.name}, seed {params.seed}", job.train.steps) as bar:
        with kept_for_backward() as kept:  # in the first step, which is not timed
            next(steps)
        memory = kept.count(state)
        bar.update(1)
        for step in timed(steps, feed):
            took.append(step.seconds - step.waited)
            bar.update(1)
    return state, statistics.median(took[len(took) // 10 :]) if took else 0.0, memory  # the first tenth warms up


def _same_teacher(labels: Path, card: Card) -> None:
    said = read_json(labels / "manifest.json")["teacher"]
    if said != card.sha256:
        raise BadInput(
            f"{labels} was written by another teacher ({said[:12]}) than the one to compare with ({card.sha256[:12]}). "
            "Name the teacher that wrote it, or leave the labels out"
        )
