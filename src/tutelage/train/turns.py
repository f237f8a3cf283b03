"""One student in turns, of several tasks or of images of several domains: before each turn it is decided which of these
are taught, after each how that went.

By the bandit of tutelage.train.tscl, or, of tasks, by the comparison with specialists of
tutelage.train.multilingual_nmt.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.data.batches import to_float
from tutelage.methods.method import Fed, Net, Together, Verbs
from tutelage.methods.multitask import MultiMethod
from tutelage.methods.multitask.method import DepthLoss, asked, lost
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.train import checkpoint, loop, tscl
from tutelage.train.multilingual_nmt import MultilingualNMT, Teaching
from tutelage.train.settings import Optimiser
from tutelage.train.tscl import TSCL, Curriculum
from tutelage.types import TASKS, BadInput, Diverged, Losses, Sizes, Task

Guide = TSCL | MultilingualNMT
Scores = Mapping[str, float]  # higher is better
Subject = TypeVar("Subject", bound=str)  # what has turns: tasks, or domains


@dataclass(frozen=True)
class Plan(Generic[Subject]):
    """What a turn teaches, and what its guide remembers."""

    labels: tuple[Subject, ...]  # taught by what people gave
    pool: tuple[Subject, ...]  # taught by what specialists said of the pool
    memory: Curriculum | Teaching


Feed = Callable[[Plan[Subject], int, int], Iterable[Fed]]  # the batches of steps from one to before another


@dataclass(frozen=True)
class Turn(Generic[Subject]):
    """A turn that is over."""

    step: int  # its last
    labels: tuple[Subject, ...]
    pool: tuple[Subject, ...]
    scores: dict[str, float]  # of the student then

    def state(self) -> list[Any]:
        """As plain numbers, lists and words, in this order."""
        return [self.step, [*self.labels], [*self.pool], dict(self.scores)]


@dataclass(frozen=True, kw_only=True)
class Turns(Generic[Net, Subject]):
    """How long a turn is, by what it is planned, and what scores a student."""

    every: int  # steps
    guide: Guide
    subjects: tuple[Subject, ...]
    score: Callable[[Net], Scores]  # on images that nobody trains on
    specialists: Scores | None = None  # by the same measure; of MultilingualNMT

    def __post_init__(self) -> None:
        gap_of(self.guide, self.every)
        if isinstance(self.guide, MultilingualNMT) and self.specialists is None:
            raise BadInput(
                "multilingual_nmt compares the student with its teachers, and none has a score. Give `specialists`"
            )

    def first(self, *, seed: int) -> Plan[Subject]:
        """The plan of the first turn."""
        if isinstance(self.guide, TSCL):
            return self._open(tscl.begin(len(self.subjects), seed=seed))
        return self._open(Teaching.begin([*self.subjects]))

    def next(self, plan: Plan[Subject], scores: list[Scores]) -> Plan[Subject]:
        """The plan after a turn in which the student had these scores, newest last."""
        if isinstance(plan.memory, Curriculum):
            assert isinstance(self.guide, TSCL)
            (subject,) = plan.labels
            own = [each[subject] for each in scores]
            return self._open(tscl.learn(self.guide, plan.memory, self.subjects.index(subject), own))
        assert isinstance(self.guide, MultilingualNMT)
        assert self.specialists is not None
        return self._open(plan.memory.judged(self.guide, scores[-1], self.specialists))

    def _open(self, memory: Curriculum | Teaching) -> Plan[Subject]:
        if isinstance(memory, Curriculum):
            assert isinstance(self.guide, TSCL)
            number, memory = tscl.choose(self.guide, memory)
            return Plan((self.subjects[number],), (self.subjects[number],), memory)
        return Plan(self.subjects, tuple(subject for subject in self.subjects if memory.active[subject]), memory)


def gap_of(guide: Guide, every: int) -> int:
    """Steps from one score of a student to the next. Raises BadInput where a turn of `every` steps has no room."""
    tries = guide.window if isinstance(guide, TSCL) and guide.variant == "naive" else 1
    if every < 1 or every % tries:
        raise BadInput(f"turns.every is {every}, and a turn takes {tries} score(s). Write a multiple of {tries}")
    return every // tries


@dataclass
class Run(loop.Run[Net, Together], Generic[Net, Together, Subject]):
    """All that changes while training, the plan and the turns that are over among it."""

    plan: Plan[Subject] = field(kw_only=True)
    scores: list[dict[str, float]] = field(default_factory=list)  # of the turn that is under way
    over: list[Turn[Subject]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, lists and words."""
        memory = self.plan.memory
        told = memory.state() if isinstance(memory, Curriculum) else dict(memory.active)
        plan = {"labels": [*self.plan.labels], "pool": [*self.plan.pool], "memory": told}
        over = [*map(Turn.state, self.over)]
        return {**checkpoint.state_of(self), "plan": plan, "scores": [*self.scores], "over": over}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the run, and torch's random state, back to where `state` was taken."""
        checkpoint.put_back(self, state)
        plan, bandit = state["plan"], isinstance(self.plan.memory, Curriculum)
        memory = Curriculum.of(plan["memory"]) if bandit else Teaching(plan["memory"])
        self.plan = Plan(tuple(plan["labels"]), tuple(plan["pool"]), memory)
        self.scores = state["scores"]
        self.over = [Turn(step, tuple(own), tuple(pool), seen) for step, own, pool, seen in state["over"]]


def begin(
    made: loop.Run[Net, Together], turns: Turns[Net, Subject], *, seed: int
) -> Run[Net, Together, Subject]:  # fmt: skip
    """A run at step 0, as loop.begin made it, whose first turn is planned."""
    return Run(made.nets, made.average, made.optimizer, made.moving_teacher, plan=turns.first(seed=seed))


def fit(
    method: Verbs[Net, Together, Fed], run: Run[Net, Together, Subject], turns: Turns[Net, Subject],
    feed: Feed[Subject, Fed], settings: Optimiser, *, steps: int, accelerator: Accelerator, diary: Path | None = None,
) -> Iterator[loop.Step]:  # fmt: skip
    """As loop.fit, on the batches that `feed` gives for the plan of each turn. The last turn is judged too.

    Of several tasks `method` is what `led` makes of it.

    Raises Diverged where a score is not finite, and BadInput where `steps` is no whole number of turns.
    """
    if steps % turns.every:
        raise BadInput(f"{steps} steps are no whole number of turns of {turns.every}. Write a multiple of it")
    fed = _fed(run, turns, feed, steps)
    return loop.fit(method, run, fed, settings, steps=steps, accelerator=accelerator, diary=diary)


def _fed(
    run: Run[Net, Together, Subject], turns: Turns[Net, Subject], feed: Feed[Subject, Fed], steps: int
) -> Iterator[Fed]:  # fmt: skip
    """Asked for the next batch, a turn that is full is judged first: a checkpoint always lies before that, and a run
    that continues there judges again what it then has."""
    gap = gap_of(turns.guide, turns.every)
    while True:
        if run.step and run.step % gap == 0:
            _judge(run, turns)
        if run.step >= steps:
            return
        yield from feed(run.plan, run.step, run.step - run.step % gap + gap)


def _judge(run: Run[Net, Together, Subject], turns: Turns[Net, Subject]) -> None:
    scores = {subject: float(score) for subject, score in turns.score(run.average).items()}
    bad = [subject for subject, score in scores.items() if not math.isfinite(score)]
    if bad:
        raise Diverged(f"the score of {bad[0]} is {scores[bad[0]]} after step {run.step}. Lower optimiser.lr")
    run.scores.append(scores)
    if run.step % turns.every == 0:
        run.over.append(Turn(run.step, run.plan.labels, run.plan.pool, scores))
        run.plan, run.scores = turns.next(run.plan, [*run.scores]), []


@dataclass(frozen=True, kw_only=True)
class Shared(MultiMethod):
    """A method of which a task's labels have 1 - share and its teacher the rest, eq. 3 of Tan et al. 2019.

    Where a batch has nothing from a task's teacher, its labels count whole, as in alg. 1.
    """

    teacher = "self"
    of: MultiMethod
    share: float

    def init(self, student: Multi, teacher: Multi, sizes: Sizes) -> nn.Module:
        return self.of.init(student, teacher, sizes)

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        terms = self.of.loss(nets, batch)
        for task in TASKS:
            if task in terms and len(getattr(batch.pool.truth, task).rows):
                terms[task] = (1 - self.share) * terms[task]
                terms[f"pool_{task}"] = self.share * terms[f"pool_{task}"]
        return terms

    def after_step(self, nets: MultiNets, step: int) -> None:
        self.of.after_step(nets, step)


def led(method: MultiMethod, guide: Guide) -> MultiMethod:
    """What a method of several tasks is under a guide: MultilingualNMT shares its terms out."""
    return Shared(of=method, share=guide.share) if isinstance(guide, MultilingualNMT) else method


@torch.no_grad()
def score(net: Multi, held: Mapping[Task, Iterable[MultiBatch]], *, depth: DepthLoss) -> dict[str, float]:
    """Of each task minus the logarithm of its loss on its held-out images, the mean over these.

    The logarithm makes tasks comparable: whatever the unit of a loss, one that halves gains ln 2. A batch has labeled
    images alone, each annotated for that task.
    """
    device = next(net.parameters()).device
    return {task: -float(_mean_loss(net, task, own, device, depth).clamp_min(1e-8).log()) for task, own in held.items()}


def _mean_loss(
    net: Multi, task: Task, batches: Iterable[MultiBatch], device: torch.device, depth: DepthLoss
) -> Float[Tensor, ""]:
    losses, images = [], []
    for batch in batches:
        batch = to_float(batch, device)
        found = lost(net(*asked(batch)), batch, depth=depth, drop=0.0)[task].labeled
        assert found is not None
        losses.append(found * len(batch.labeled.images))
        images.append(len(batch.labeled.images))
    return torch.stack(losses).sum() / sum(images)
