"""What the training stages of several tasks share: from shares of labels to weights, continued where it was cut off."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tasks.carry import CHECKPOINTS, carry_out, results
from tasks.multi_params import TrainMulti
from tasks.multi_said import Told, nothing_told
from tasks.multi_split import read_shares
from tasks.multi_truth import Given, Truth, Unlabelled
from tasks.params import Params
from tasks.training import seed_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.data.multi_batches import MultiSource, multi_batches
from tutelage.data.scene_views import strong_scene
from tutelage.data.scenes import read_boxes
from tutelage.models.multi import MultiNet
from tutelage.models.multi_files import load_multi, save_multi
from tutelage.models.multi_spec import MultiSpec
from tutelage.multi_types import Multi, MultiNets
from tutelage.train.device import arithmetic
from tutelage.train.loop import Run, begin
from tutelage.types import BadInput, Sizes, Task

MODEL = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class MultiJob:
    """One training run of a network with heads, as data."""

    name: str  # for people: progress and messages
    train: TrainMulti
    network: MultiSpec
    given: Given
    told: Told | Unlabelled
    stores: tuple[Path, ...] = ()  # that `told` was read from
    start: Path | None = None  # a network of the same shape with fewer heads, whose weights this one begins with
    again: bool = False  # `start` has learned from these images: they come in another order and other views
    teacher: Path | None = None  # a network that answers in every step


def train_multi(
    job: MultiJob, table: pa.Table, params: Params, out: Path, *, finish: Callable[[MultiNet], None] | None = None
) -> Path:
    """Train `job` on rows of `table`, write model.safetensors and curve.csv. Continues where it was cut off.

    `finish` gets the network before it is saved.
    """
    if not len(job.given.rows):
        raise BadInput(f"{job.name} has no labelled image. Annotate some, or leave the task out of multitask.tasks")
    state, scratch = begun(job, table, params), CHECKPOINTS / fingerprint(job, table, params)
    made, stop, wanted = source_of(job, table, params), job.train.steps, params.multitask
    carry_out(
        job.name, job.train.method, state,
        lambda step: multi_batches(made, start=step, stop=stop, workers=params.compute.workers),
        steps=stop, optimiser=wanted.optimiser, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch) as folder:
        assert isinstance(state.average, MultiNet)
        if finish is not None:
            finish(state.average)
        save_multi(folder / MODEL, state.average, classes=classes_of(table), method=str(job.train.method))
    return out


def job_of(
    name: str, train: TrainMulti, tasks: Sequence[Task], table: pa.Table, truth: Truth, *, shares: Path,
    params: Params,
) -> MultiJob:  # fmt: skip
    """A run on the labelled images whose share belongs to one of `tasks`, without a pool."""
    roles = ("labelled", "holdout") if train.holdout else ("labelled",)
    given = given_of(tasks, table, truth, shares=shares, roles=roles)
    network = params.multitask.shaped(tuple(tasks))
    return MultiJob(name=name, train=train, network=network, given=given, told=nothing_told(truth))


def given_of(tasks: Sequence[Task], table: pa.Table, truth: Truth, *, shares: Path, roles: Sequence[str]) -> Given:
    """The images of these roles whose share belongs to one of `tasks`, each with its own task's labels."""
    owner = dict(zip(*(read_shares(shares)[column].to_pylist() for column in ("id", "task")), strict=True))
    of_row = [
        owner.get(image, "") if role in roles else ""
        for image, role in zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True)
    ]
    rows = [row for row, task in enumerate(of_row) if task in tasks]
    own: list[Any] = [of_row[row] for row in rows]
    return Given(truth, np.array(rows, np.int64), own)


def truth_of(split: Path, shares: Path, table: pa.Table, params: Params) -> Truth:
    """What people gave, at the network's size."""
    size = params.multitask.network.detector.image_size
    return Truth.of(table, read_boxes(split), read_shares(shares), size=size, unit=params.multitask.depth_unit)


def fingerprint(job: MultiJob, table: pa.Table, params: Params) -> str:
    """A name for a run's checkpoints that no other data, params or teacher shares."""
    wanted = params.multitask
    told = [asdict(part) for part in (wanted.views, wanted.optimiser, job.network, job.train)]
    truth = job.given.truth
    about = [job.name, params.seed, str(job.train.method), told, list(job.given.tasks), truth.unit]
    about += [sorted(truth.masks.items()), sorted(truth.depths.items()), arithmetic(params.compute)]
    about += [load_multi(each / MODEL)[1].sha256 for each in (job.start, job.teacher) if each]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for column in ("id", "sha256"):
        digest.update("\n".join(table[column].to_pylist()).encode())
    for array in (*asdict(truth.objects).values(), job.given.rows, job.told.rows):
        digest.update(np.ascontiguousarray(array).tobytes())
    for store in job.stores:
        digest.update((store / "manifest.json").read_bytes())  # with the hashes of its shards
    return digest.hexdigest()[:16]


def begun(job: MultiJob, table: pa.Table, params: Params) -> Run[Multi, MultiNets]:
    """The run of `job` at step 0."""
    sizes = Sizes(len(job.given.rows), len(job.told.rows), len(classes_of(table)), job.train.steps)
    net = fresh(job, table, params)
    teacher = None if job.teacher is None else _teacher(job.teacher, net, classes_of(table))
    return begin(job.train.method, net, teacher, sizes, params.multitask.optimiser)


def fresh(job: MultiJob, table: pa.Table, params: Params) -> MultiNet:
    """The network that `job` begins with."""
    torch.manual_seed(params.seed)
    net = MultiNet(job.network, len(classes_of(table)))
    if job.start is not None:
        take_over(net, job.start, classes_of(table))
    return net


def _teacher(folder: Path, net: MultiNet, classes: list[str]) -> MultiNet:
    """Raises BadInput where it knows other classes, or sees images of another size."""
    teacher, card = load_multi(folder / MODEL)
    size = net.spec.detector.image_size
    if (card.classes, card.image_size) != (classes, size):
        raise BadInput(
            f"{folder} sees {card.classes} at {card.image_size} pixels, its student {classes} at {size}. "
            "Train the teacher again"
        )
    return teacher


def take_over(net: MultiNet, folder: Path, classes: list[str]) -> None:
    """Give `net` the backbone, the pyramid and the heads of the network in `folder`; heads it lacks keep theirs.

    Raises BadInput where that network was made for other classes or has another shape.
    """
    other, card = load_multi(folder / MODEL)
    if card.classes != classes or replace(card.spec, tasks=net.tasks) != net.spec:
        raise BadInput(
            f"{folder} holds {card.spec} for the classes {card.classes}, and {net.spec} for {classes} cannot begin "
            "with it. Train it again, or start from scratch (multitask.start: null, `start: scratch` of a candidate)"
        )
    net.body.load_state_dict(other.body.state_dict())
    for task in other.tasks:
        net.heads[task].load_state_dict(other.heads[task].state_dict())


def source_of(job: MultiJob, table: pa.Table, params: Params) -> MultiSource:
    """What the batches of `job` are made of."""
    size, views = job.network.detector.image_size, params.multitask.views
    return MultiSource(
        images=Images.open(table, size, letterbox=True), classes=len(classes_of(table)), labeled=job.given.rows,
        pool=job.told.rows, given=job.given, said=job.told, view=strong_scene(views, size), visible=views.visible,
        labeled_batch=job.train.labelled_batch, pool_batch=job.train.pool_batch if len(job.told.rows) else 0,
        seed=seed_of("again", "teacher" if job.again else "scratch", params),
    )  # fmt: skip
