"""Cross-Task Knowledge Distillation in Multi-Task Recommendation. Yang, Pan, Gao, Jiang, Liu, Chen. AAAI 2022.
https://arxiv.org/abs/2202.09852

Two related attributes of an image take the place of two actions of a user. Formulas are from memory of the paper.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tutelage.data.batches import on_device
from tutelage.losses.cross_task import calibrated, corrected, finer_ranking, soft_binary
from tutelage.methods.method import check
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import Losses, Network


class Attributes(NamedTuple):
    """Images and whether each of two attributes is there."""

    images: Float[Tensor, "n 3 h w"]
    first: Bool[Tensor, " n"]
    second: Bool[Tensor, " n"]


@dataclass(frozen=True, kw_only=True)
class CrossDistil:
    """Each task has a second head that ranks images by the other task's labels too, and learns from its ranking."""

    __pydantic_config__ = {"extra": "forbid"}
    alpha: float = 0.5  # share of the ranking's soft labels in a task's loss
    positives: float = 1.0  # beta_1, of the order among images that have the attribute
    negatives: float = 1.0  # beta_2, of the order among those that have not
    temperature: float = 1.0  # of the soft labels
    margin: float = 0.0  # m, a wrong logit of the ranking is set to this on its label's side

    def __post_init__(self) -> None:
        check(
            self, shares=("alpha",), weights=("positives", "negatives", "margin"), positive=("temperature",)
        )  # fmt: skip

    def loss(self, said: "Said", own: Bool[Tensor, " n"], other: Bool[Tensor, " n"]) -> Losses:
        """Of one task: its label, the ranking's soft labels, the ranking itself, and the ranking's calibration."""
        target = own.to(said.task.dtype)
        told = calibrated(said.ranking, said.scale, said.shift)
        wanted = corrected(told, own, margin=self.margin)
        return {
            "task": (1 - self.alpha) * F.binary_cross_entropy_with_logits(said.task, target),
            "distillation": self.alpha * soft_binary(said.task, wanted, temperature=self.temperature),
            "ranking": finer_ranking(
                said.ranking, own, other, positives=self.positives, negatives=self.negatives
            ),
            "calibration": F.binary_cross_entropy_with_logits(told, target),
        }  # fmt: skip


class Said(NamedTuple):
    """Logits of a task and of its ranking, and what calibrates the latter."""

    task: Float[Tensor, " n"]
    ranking: Float[Tensor, " n"]
    scale: Float[Tensor, ""]
    shift: Float[Tensor, ""]


class Heads(nn.Module):
    """A linear head and a ranking head for each of two tasks on the embedding of a network that they share."""

    def __init__(self, width: int):
        super().__init__()
        self.tasks, self.rankings = nn.Linear(width, 2), nn.Linear(width, 2)
        self.scale, self.shift = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))

    def forward(self, embedding: Float[Tensor, "n d"]) -> tuple[Said, Said]:
        tasks, rankings = self.tasks(embedding).float(), self.rankings(embedding).float()
        first, second = (Said(tasks[:, k], rankings[:, k], self.scale[k], self.shift[k]) for k in range(2))
        return first, second


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: Network
    heads: Heads
    optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "heads", "optimizer")


def begin(student: Network, settings: Optimiser) -> Run:
    """A run at step 0. The student's own logits are left alone: its embedding is what the heads look at."""
    heads = Heads(student.embedding_width).to(next(student.parameters()).device)
    return Run(student, heads, sgd([*student.parameters(), *heads.parameters()], settings))


def fit(
    method: CrossDistil, run: Run, batches: Iterable[Attributes], settings: Optimiser, *, steps: int
) -> Iterator[Step]:
    """Train from `run.step` on, all heads at once (sec. 3.5), one step a batch, where the student lies.

    Raises Diverged where a loss is not finite; the step before it is then the last that changed anything.
    """
    device = next(run.student.parameters()).device
    for batch in batches:
        images, first, second = (on_device(x, device) for x in batch)
        set_rate(run.optimizer, settings.lr * schedule(run.step, steps, settings.warmup_steps))
        run.student.train()
        said = run.heads(run.student(images).embedding)
        terms = {
            f"{name}_{part}": term
            for name, one, own, other in (("first", said[0], first, second), ("second", said[1], second, first))
            for part, term in method.loss(one, own, other).items()
        }
        terms = descend(run.optimizer, terms, settings, step=run.step + 1)
        run.step += 1
        yield Step(run.step, terms)
