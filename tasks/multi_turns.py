"""A student whose tasks have turns: batches of a turn's tasks, and scores on the hold-out that plan the next turn."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tasks.carry import CHECKPOINTS, carry_on, results
from tasks.multi_params import StudentMulti
from tasks.multi_said import Told
from tasks.multi_training import MultiJob, begun, fingerprint, source_of
from tasks.multi_truth import Given
from tasks.params import Params
from tutelage.data.manifest import classes_of
from tutelage.data.multi_batches import MultiSource, multi_batches
from tutelage.data.scene_views import SceneViews, weak_scene
from tutelage.methods.multitask import MultiMethod
from tutelage.methods.multitask.method import DepthLoss
from tutelage.methods.multitask.must import MuST
from tutelage.models.multi import MultiNet
from tutelage.models.multi_files import load_multi, save_multi
from tutelage.multi_types import Multi, MultiBatch
from tutelage.train import turns
from tutelage.train.device import accelerator
from tutelage.train.multilingual_nmt import MultilingualNMT, likeliest
from tutelage.train.tscl import TSCL
from tutelage.train.turns import Plan, Run, Scores, Turns
from tutelage.types import BadInput, Task

Held = Mapping[Task, list[MultiSource]]  # of each task batches of its held-out images
PLAIN = SceneViews(flip=False, scale=0.0, translate=0.0)


def train_in_turns(job: MultiJob, held: Given, table: pa.Table, params: Params, *, teachers: Path, out: Path) -> Path:
    """Train `job` as its `turns` say: model.safetensors, curve.csv, turns.json. Continues where it was cut off.

    `held` are labelled images that it does not train on; `teachers` the specialists, one folder a task.
    """
    train, method = job.train, job.train.method
    assert isinstance(train, StudentMulti)
    assert train.turns is not None
    depth, bandit = measure_of(method), isinstance(train.turns.learn, TSCL)
    engine, judges = accelerator(params.compute), held_images(job, held, table, params)
    turn: Turns[Multi, Task] = Turns(
        every=train.turns.every, guide=train.turns.learn, subjects=job.network.tasks,
        score=lambda net: turns.score(net, batches_of(judges), depth=depth),
        specialists=None if bandit else specialists(job, judges, table, teachers, engine.device),
    )  # fmt: skip
    run = turns.begin(begun(job, table, params), turn, seed=params.seed)
    scratch = CHECKPOINTS / f"{fingerprint(job, table, params)}-{_digest(held, turn)}"
    source, told = source_of(job, table, params), job.told
    assert isinstance(told, Told)
    if isinstance(turn.guide, MultilingualNMT):
        told = with_likeliest(told, turn.guide.top)

    def feed(plan: Plan[Task], start: int, stop: int) -> Iterable[MultiBatch]:
        made = of_turn(source, job.given, told, plan)
        return multi_batches(made, start=start, stop=stop, workers=params.compute.workers)

    carry_on(
        job.name, run,
        lambda: turns.fit(
            turns.led(method, turn.guide), run, turn, feed, params.multitask.optimiser, steps=train.steps,
            accelerator=engine, diary=scratch / "diary",
        ),
        steps=train.steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch, {"turns.json": told_of(run, turn)}) as folder:
        assert isinstance(run.average, MultiNet)
        about = f"{method}, in turns by {turn.guide}"
        save_multi(folder / "model.safetensors", run.average, classes=classes_of(table), method=about)
    return out


def held_images(job: MultiJob, held: Given, table: pa.Table, params: Params) -> Held:
    """Plain views of the images that judge each task. Raises BadInput for a task without any."""
    train, found = job.train, {}
    plain = replace(
        source_of(job, table, params), view=weak_scene(PLAIN, job.network.detector.image_size), pool_batch=0
    )
    for task in job.network.tasks:
        own = only_of(held, (task,))
        if not len(own.rows):
            raise BadInput(
                f"multitask.student.turns scores each task on its part of the hold-out, which has no image of {task}. "
                "Raise multitask.split.holdout, label more images, or write multitask.student.turns: null"
            )
        size = train.labelled_batch + train.pool_batch
        chunks = [slice(first, first + size) for first in range(0, len(own.rows), size)]
        found[task] = [
            replace(plain, labeled=own.rows[each], labeled_batch=len(own.rows[each]),
                    given=Given(own.truth, own.rows[each], own.tasks[each]))
            for each in chunks
        ]  # fmt: skip
    return found


def batches_of(held: Held) -> dict[Task, Iterable[MultiBatch]]:
    """Made anew each time: they may be too many to keep."""
    return {task: (source[0] for source in sources) for task, sources in held.items()}


def measure_of(method: MultiMethod) -> DepthLoss:
    """What depth is judged by: what it is taught by. Raises BadInput for a method that has no such loss."""
    if not isinstance(method, MuST):
        raise BadInput(f"turns are those of must, and student.method is {type(method).__name__}. Write {{name: must}}")
    return method.depth_loss


def specialists(job: MultiJob, held: Held, table: pa.Table, teachers: Path, device: torch.device) -> Scores:
    """The score of each specialist on its own task. Raises BadInput where one is of other classes or another size."""
    found: dict[str, float] = {}
    for task in job.network.tasks:
        net, card = load_multi(teachers / task / "model.safetensors")
        alike = (card.classes, card.image_size) == (classes_of(table), job.network.detector.image_size)
        if task not in net.tasks or not alike:
            raise BadInput(
                f"{teachers / task} has heads for {', '.join(net.tasks)} and sees {card.classes} at {card.image_size} "
                f"pixels: no specialist for this student's {task}. Run `dvc repro multi_teacher@{task}`"
            )
        own = batches_of({task: held[task]})
        found |= turns.score(net.to(device), own, depth=measure_of(job.train.method))
    return found


def with_likeliest(told: Told, top: int) -> Told:
    """Of each image's classes only the `top` likeliest are heard of."""
    if told.present is None:
        return told
    return replace(told, trust=likeliest(torch.from_numpy(told.present), top).numpy())


def of_turn(source: MultiSource, given: Given, told: Told, plan: Plan[Task]) -> MultiSource:
    """What the batches of a turn are made of: images labelled for its tasks, and the pool as its teachers see it."""
    own = only_of(given, plan.labels)
    return replace(
        source, labeled=own.rows, given=own, said=told.only(plan.pool),
        pool_batch=source.pool_batch if plan.pool else 0,
    )  # fmt: skip


def only_of(given: Given, tasks: tuple[Task, ...]) -> Given:
    """The images that are annotated for one of `tasks`."""
    places = [place for place, task in enumerate(given.tasks) if task in tasks]
    return Given(given.truth, given.rows[places], [given.tasks[place] for place in places])


def told_of(run: Run[Any, Any, Any], turn: Turns[Any, Any]) -> dict[str, Any]:
    """turns.json."""
    return {
        "specialists": turn.specialists,
        "turns": [
            {"step": each.step, "labels": each.labels, "pool": each.pool, "scores": each.scores} for each in run.over
        ],
    }


def _digest(held: Given, turn: Turns[Any, Any]) -> str:
    """Names what a run is judged by."""
    told = f"{held.tasks} {turn.guide} {turn.specialists}".encode()
    return hashlib.sha256(told + np.ascontiguousarray(held.rows).tobytes()).hexdigest()[:8]
