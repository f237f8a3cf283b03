"""CyCADA, all its stages in one loop: tutelage.train.cyclegan, training on what it makes, tutelage.train.cycada.

Hoffman et al. ICML 2018. https://arxiv.org/abs/1711.03213. For any network that answers with logits, of images [n c] or
of pixels [n c h w], at one level or several, of which the main one is taught.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from tutelage.methods.method import check
from tutelage.models.average import average_into
from tutelage.train import cycada, cyclegan
from tutelage.train.adversarial import Pair, known_cross_entropy, main_logits, translated_pairs
from tutelage.train.cycada import IMAGES, CyCADA
from tutelage.train.cyclegan import CycleGAN
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput


@dataclass(frozen=True, kw_only=True)
class CyCADAStages:
    """Make the source look like the target, learn from it, then answer alike on both. `aligning` of 0 leaves the last
    stage out.
    """

    __pydantic_config__ = {"extra": "forbid"}
    translate: CycleGAN = IMAGES
    align: CyCADA = field(default_factory=CyCADA)
    translating: float = 0.3  # share of the steps
    aligning: float = 0.2  # share of the steps

    def __post_init__(self) -> None:
        check(self, shares=("translating", "aligning"))
        if self.translating + self.aligning >= 1:
            raise BadInput(
                f"translating is {self.translating} and aligning {self.aligning} of the steps, which leaves none to "
                "train in. Write less than 1 in all"
            )

    def ends(self, steps: int) -> tuple[int, int]:
        """The steps after which translation and training are over. Raises BadInput where a stage has none."""
        first, second = round(self.translating * steps), steps - round(self.aligning * steps)
        if first < 1 or second <= first or (self.aligning and second == steps):
            raise BadInput(f"{steps} steps leave a stage of cycada without any: take more, or other shares")
        return first, second


@dataclass
class Run(Resumable):
    """All that changes over the stages."""

    translator: cyclegan.Run
    features: cycada.Run  # of `student`
    student: nn.Module
    average: nn.Module  # moving average of the student while it trains on translated images
    optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("translator", "features", "student", "average", "optimizer")


def begin(method: CyCADAStages, student: nn.Module, settings: Optimiser, *, size: int) -> Run:
    """A run at step 0 from a network of the source, or one that knows nothing, for square images of `size` pixels."""
    device = next(student.parameters()).device
    average = copy.deepcopy(student).eval().requires_grad_(False)
    return Run(
        cyclegan.begin(method.translate, size=size, device=device),
        cycada.begin(method.align, student, torch.zeros(2, 3, size, size, device=device)),
        student, average, sgd(list(student.parameters()), settings),
    )  # fmt: skip


def trained(method: CyCADAStages, run: Run) -> nn.Module:
    """What is evaluated and kept of a run that is over."""
    return run.features.average if method.aligning else run.average


def fit(
    method: CyCADAStages, run: Run, feed: Callable[[int, int], Iterable[Pair]], settings: Optimiser, *, steps: int
) -> Iterator[Step]:
    """All stages from `run.step` on; `feed` gives the pairs of steps from one to another.

    Translation keeps what the network says of an image where `translate.semantic` is above 0. Raises Diverged where a
    loss is not finite.
    """
    first, second = method.ends(steps)
    while run.step < steps:
        if run.step < first:
            stop, seen = first, feed(run.step, first)
            taken = cyclegan.fit(method.translate, run.translator, seen, run.average, settings, steps=first)
        elif run.step < second:
            stop, seen = second, feed(run.step, second)
            made = translated_pairs(seen, run.translator.generators.there)
            taken = _train(run, made, settings, start=first, stop=second)
        else:
            if run.step == second:
                _enter(run)
            stop, seen = steps, feed(run.step, steps)
            made = translated_pairs(seen, run.translator.generators.there)  # which the source's network knows, eq. 6
            taken = cycada.fit(method.align, run.features, made, settings)
        for step in taken:
            run.step += 1
            yield Step(run.step, step.terms)
        assert run.step == stop, "the feed ended early"


def _train(run: Run, seen: Iterable[Pair], settings: Optimiser, *, start: int, stop: int) -> Iterator[Step]:
    for pair in seen:
        done = run.step - start
        set_rate(run.optimizer, settings.lr * schedule(done, stop - start, settings.warmup_steps))
        run.student.train()
        loss = {"task": known_cross_entropy(main_logits(run.student, pair.source), pair.labels)}
        terms = descend(run.optimizer, loss, settings, step=run.step + 1)
        average_into(run.average, run.student, decay=settings.decay(done))
        yield Step(run.step + 1, terms)


def _enter(run: Run) -> None:
    """The last stage goes on from the average."""
    for net in (run.student, run.features.source, run.features.average):
        net.load_state_dict(run.average.state_dict())
