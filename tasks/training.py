"""What the four training stages share: from a split to the weights of a network, cut off and continued at any step."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tasks.carry import CHECKPOINTS, carry_out, results
from tasks.io import read_json, whole, write_json
from tasks.knobs import Train
from tasks.params import Params
from tutelage.data.batches import Source, batches, two_views
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, digest_of, read_split
from tutelage.data.pseudo_labels import PseudoLabels
from tutelage.models.backbone import Backbone, NetworkSpec, create
from tutelage.models.files import Card, load_model, load_translator, save_model
from tutelage.train.cycada import translated
from tutelage.train.device import accelerator, arithmetic
from tutelage.train.loop import Run, begin
from tutelage.types import BadInput, Batch, Nets, Network, Sizes

NOTE = "learned_from.json"  # beside a model: the roles of the labelled images that it was trained on
Through = Callable[[Run[Network, Nets], Iterable[Batch]], Iterable[Batch]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run, as data."""

    name: str  # for people: progress and messages
    train: Train
    network: NetworkSpec
    labeled: np.ndarray  # rows of the split [n]
    labels: np.ndarray  # their classes [n], int64
    pool: np.ndarray  # rows of the split [m]
    pseudo: PseudoLabels  # of the pool
    teacher: Path | None = None  # weights of the teacher
    translator: Path | None = None  # weights of a generator that all labelled images pass through


def run(
    job: Job, table: pa.Table, params: Params, out: Path, notes: dict[str, Any] | None = None, *,
    through: Through | None = None, finish: Callable[[Path], None] | None = None,
) -> Path:  # fmt: skip
    """Train `job` on rows of `table`, write model.safetensors and curve.csv. Continues where it was cut off.

    `notes` are JSON files to write beside them, by name. `through` sees the run before each batch that it passes on.
    `finish` may write more into the folder, which has the model by then.
    """
    if not len(job.labeled):
        raise BadInput(f"{job.name} has no labelled image to train on. Label some, or raise split.labels_per_class")
    state, scratch = start(job, table, params), CHECKPOINTS / fingerprint(job, table, params)
    made, stop = source(job, table, params), job.train.steps

    def feed(step: int) -> Iterable[Batch]:
        seen = as_seen(job, batches(made, start=step, stop=stop, workers=params.compute.workers), params)
        return seen if through is None else through(state, seen)

    carry_out(
        job.name, job.train.method, state, feed,
        steps=stop, optimiser=params.optimiser, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch, notes) as folder:
        trained = job.train.method.kept(state.average)
        assert isinstance(trained, Backbone)
        save_model(folder / "model.safetensors", trained, classes=classes_of(table), method=_method_name(job))
        if finish is not None:
            finish(folder)
    return out


def start(job: Job, table: pa.Table, params: Params) -> Run[Network, Nets]:
    """The run at step 0, its networks drawn from the seed."""
    torch.manual_seed(params.seed)
    classes = classes_of(table)
    sizes = Sizes(len(job.labeled), len(job.pool), len(classes), job.train.steps)
    return begin(job.train.method, *networks(job, classes), sizes, params.optimiser)


def fingerprint(job: Job, table: pa.Table, params: Params) -> str:
    """A name for a run's checkpoints that no other data, params or teacher shares."""
    told = [asdict(p) for p in (params.network, params.views, params.optimiser, job.network, job.train)]
    about = [job.name, params.seed, _method_name(job), told, arithmetic(params.compute)]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(digest_of(table))
    for array in (
        job.labeled,
        job.labels,
        job.pool,
        job.pseudo.classes,
        job.pseudo.probabilities,
        job.pseudo.weight,
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    for weights in (job.teacher, job.translator):
        if weights is not None:
            digest.update(weights.read_bytes())
    return digest.hexdigest()[:16]


def rows_of(table: pa.Table, role: str) -> np.ndarray:
    """Rows of a split that play `role`."""
    return np.flatnonzero(pc.equal(table["role"], role).to_numpy(zero_copy_only=False))


def labels_of(table: pa.Table, rows: np.ndarray) -> np.ndarray:
    """Classes of `rows`, all of which have one."""
    labels: np.ndarray = table["label"].take(pa.array(rows)).to_numpy(zero_copy_only=False).astype(np.int64)
    return labels


def learned_from_holdout(model: Path) -> bool:
    """Whether its answers on the hold-out prove nothing."""
    return "holdout" in learned_from(model)


def learned_from(model: Path) -> list[str]:
    """Roles of the labelled images that it was trained on, [] where that is not known."""
    return list(read_json(model / NOTE)) if (model / NOTE).exists() else []


def copy_model(source: Path, folder: Path) -> None:
    """Its weights, and what it has learned from where that is known."""
    shutil.copyfile(source / "model.safetensors", folder / "model.safetensors")
    if (source / NOTE).exists():
        shutil.copyfile(source / NOTE, folder / NOTE)


def passed(model: Path, reason: str, out: Path) -> Path:
    """`model` in place of one that would have been trained."""
    with whole(out) as folder:
        copy_model(model, folder)
        write_json(folder / "passed.json", {"reason": reason})
    return out


def guarded(model: Path) -> dict[str, Any]:
    """What the guard said that let `model` pass; of one that none has seen, what lets a student be trained."""
    path = model / "guard.json"
    return read_json(path) if path.exists() else {"verdict": "continue", "unsupervised_weight": 1.0}


def untested(name: str, reason: str, out: Path, *, what: str = "model") -> Path:
    """The folder of an evaluation that had nothing to test."""
    with whole(out) as folder:
        write_json(folder / "metrics.json", {"available": False, "reason": reason})
        (folder / "report.md").write_text(f"# Test of {name}\n\nThere is no {what} to test: {reason}.\n")
    return out


def check_unlearned(model: Path) -> None:
    """BadInput where the hold-out is to be asked of a model that was trained on it."""
    if learned_from_holdout(model):
        raise BadInput(
            f"{model} has learned from the hold-out ({NOTE}), so it proves nothing there. Take a model trained "
            "without it: of a round, rounds.N.holdout false"
        )


def supervised(name: str, train: Train, roles: tuple[str, ...], split: Path, params: Params, out: Path) -> Path:
    """A run on given labels alone."""
    table = read_split(split)
    job = labels_alone(name, train, params.network, table, roles=roles)
    return run(job, table, params, out, notes={NOTE: list(roles)})


def labels_alone(
    name: str, train: Train, network: NetworkSpec, table: pa.Table, *, roles: tuple[str, ...] = ("labelled", "holdout")
) -> Job:
    """A run on all given labels of `roles`, without a pool."""
    job = every_label(name, train, network, table, roles=roles)
    return replace(job, pool=np.zeros(0, np.int64), pseudo=PseudoLabels.none(0, len(classes_of(table))))


def every_label(
    name: str, train: Train, network: NetworkSpec, table: pa.Table, *, teacher: Path | None = None,
    roles: tuple[str, ...] = ("labelled", "holdout"),
) -> Job:  # fmt: skip
    """A run on all given labels of `roles`, and on the pool as it is: without labels from before the run."""
    rows = np.sort(np.concatenate([rows_of(table, role) for role in roles]))
    pool = rows_of(table, "pool")
    return Job(
        name=name, train=train, network=network, labeled=rows, labels=labels_of(table, rows), pool=pool,
        pseudo=PseudoLabels.none(len(pool), len(classes_of(table))), teacher=teacher,
    )  # fmt: skip


def networks(job: Job, classes: list[str]) -> tuple[Backbone, Network | None]:
    """Student and teacher of a run. Raises BadInput where they do not fit together, or the teacher not the classes."""
    student = create(job.network, len(classes))
    if job.teacher is None:
        return student, None
    teacher, card = teacher_of(job.teacher, classes)
    if job.train.start == "teacher":
        if card.spec != job.network or card.members > 1:
            several = f"{card.members} networks, the first " if card.members > 1 else ""
            raise BadInput(
                f"{job.name}.start is 'teacher', but the teacher is {several}{card.spec} and the student "
                f"{job.network}. Write start: scratch"
            )
        student.load_state_dict(teacher.state_dict())
    return student, teacher


def teacher_of(weights: Path, classes: list[str]) -> tuple[Network, Card]:
    """One network, or a committee of several. Raises BadInput where it knows other classes than the split."""
    teacher, card = load_model(weights)
    if card.classes != classes:
        raise BadInput(f"{weights} knows the classes {card.classes}, the split {classes}. Train the teacher again")
    return teacher, card


def calibration_of(
    model: Path, calibration: Path, *, sha256: str, numbers: Callable[[dict[str, Any]], Iterable[float | None]],
    least: float, kind: str,
) -> dict[str, Any]:  # fmt: skip
    """What a calibration of `model`, whose weights have this sha256, says: its `numbers`, and a threshold a class, are
    finite and not below `least`; None is none. Raises BadInput for anything else, `kind` being what is looked for."""
    path, again = calibration / "calibration.json", "Run `dvc repro` to calibrate again"
    try:
        rules = dict(read_json(path))
        told = [*numbers(rules), *(row["threshold"] for row in rules["classes"])]
        made_for = rules["teacher"]
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist, so {calibration} is no {kind}. {again}, or correct the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is no {kind} ({type(error).__name__}: {error}). {again}") from error
    told = [number for number in told if number is not None]
    if not all(isinstance(number, int | float) and least <= number < math.inf for number in told):
        floor = f", and none below {least:g}" if least > -1 else ""
        raise BadInput(f"{path} has {told}: the numbers of a {kind} are finite{floor}. {again}")
    if made_for != sha256:
        raise BadInput(f"{calibration} was made for another model than {model}. {again}, or name that of this model")
    return rules


def source(job: Job, table: pa.Table, params: Params) -> Source:
    """What the batches of a run are made of."""
    size, pooled = job.network.image_size, job.train.method.pool
    return Source(
        images=Images.open(table, size), labeled=job.labeled, labels=job.labels, pool=job.pool, pseudo=job.pseudo,
        views=two_views(params.views, size), labeled_batch=job.train.labelled_batch,
        pool_batch=job.train.pool_batch if pooled else 0, seed=seed_of(job.name, job.train.start, params),
    )  # fmt: skip


def seed_of(name: str, begins: str, params: Params) -> int:
    """Of the order and the views of a run's images. All that start from scratch have the same, so that they can be
    compared; one that goes on from its teacher's weights would see again what these have learned from, view by view.
    """
    if begins == "scratch":
        return params.seed
    return int.from_bytes(hashlib.sha256(f"{params.seed} {name}".encode()).digest()[:4], "big")


def as_seen(job: Job, seen: Iterable[Batch], params: Params) -> Iterable[Batch]:
    """Batches whose labelled images have passed through the translator of `job`, where it has one."""
    if job.translator is None:
        return seen
    device = accelerator(params.compute).device
    with torch.random.fork_rng(
        devices=()
    ):  # weights are drawn before they are read: not once more in a run that goes on
        generator = load_translator(job.translator)
    return translated(seen, generator.to(device), device=device)


def _method_name(job: Job) -> str:
    return f"{job.train.method}"
