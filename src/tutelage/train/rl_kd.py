"""Reinforced Multi-Teacher Selection for Knowledge Distillation. Yuan, Shou, Pei, Lin, Gong, Fu, Jiang. AAAI 2021.
https://arxiv.org/abs/2012.06048

Two learners take turns in every step: a student of those teachers that a policy has picked for each image, and the
policy, which is rewarded by how the student does afterwards. From memory of the paper, unchecked; the paper's state is
of a text encoder, ours of the first teacher's embedding. Unlike the paper's, a reward that counts what is heard takes
silence for hearing all: a soft label always costs something, so where silence is free a policy learns it alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.losses.ensembles import heard_rows, reinforce
from tutelage.losses.targets import mean_or_zero
from tutelage.methods.method import check
from tutelage.models.average import Frozen
from tutelage.models.committee import each_said, members_of
from tutelage.train.lessons import Lesson, Resumable, descend, ready
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import Losses, Network, Outputs


@dataclass(frozen=True, kw_only=True)
class RLKD:
    """Of several teachers, let a policy pick for each image whom to hear; where it picks none, learn the label alone.

    Three stages: the student hears all, the policy learns from a student that stands still, both learn. Teachers come
    as a committee (`python -m tasks committee`).
    """

    __pydantic_config__ = {"extra": "forbid"}
    alpha: float = 0.5  # share of the soft labels; the paper's is not known
    temperature: float = 1.0  # T of teachers and student
    reward: Literal["label", "loss", "quiz"] = "quiz"  # -cross entropy; less what is heard too; or with the quiz
    share: float = 0.5  # gamma, of the loss in "quiz"; the rest is accuracy on held-out images
    alone: float = 0.2  # share of the run in which the student hears all
    policy: float = 0.1  # share after it in which the policy learns alone
    policy_lr: float = 1e-2  # of Adam
    baseline: float = 0.9  # decay of the mean reward, which a reward is compared with

    def __post_init__(self) -> None:
        shares = ("alpha", "share", "alone", "policy", "baseline")
        check(self, shares=shares, positive=("temperature", "policy_lr"))

    def rows(
        self, student: Float[Tensor, "n c"], teachers: Float[Tensor, "m n c"], labels: Int[Tensor, " n"],
        heard: Float[Tensor, "n m"],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:  # fmt: skip
        """Of each image the weighted cross entropy and the weighted loss to those that are heard."""
        share = self.alpha * (heard.sum(-1) > 0)
        soft = heard_rows(student, teachers, heard, temperature=self.temperature)
        return (1 - share) * F.cross_entropy(student, labels, reduction="none"), share * soft


class Policy(nn.Module):
    """How likely each teacher is picked: a logit linear in its state. It begins undecided."""

    mean: Tensor

    def __init__(self, teachers: int, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(teachers, width)), nn.Parameter(torch.zeros(teachers))
        self.register_buffer("mean", torch.full((), torch.nan))  # reward so far; there is none yet

    def forward(self, state: Float[Tensor, "m n s"]) -> Float[Tensor, "n m"]:
        return (state * self.weight[:, None]).sum(-1).mT + self.bias

    def advantage(self, reward: Float[Tensor, " n"], *, decay: float) -> Float[Tensor, " n"]:
        """By how much rewards pass their mean so far, which then moves."""
        mean = torch.where(self.mean.isnan(), reward.mean(), self.mean)
        self.mean.copy_(decay * mean + (1 - decay) * reward.mean())
        return reward - mean


def states(told: Outputs, labels: Int[Tensor, " n"]) -> Float[Tensor, "m n s"]:
    """Of each teacher and image: the first teacher's embedding, this one's soft label, its cross entropy."""
    said = each_said(told)
    wrong = torch.stack([F.cross_entropy(one, labels, reduction="none") for one in said])
    seen = told.embedding.expand(len(said), *told.embedding.shape)
    return torch.cat([seen, said.softmax(-1), wrong[..., None]], dim=-1)


@dataclass
class Run(Resumable):
    """All that changes while training, and the teachers, which do not."""

    student: Network
    policy: Policy
    student_optimizer: torch.optim.Optimizer
    policy_optimizer: torch.optim.Optimizer
    teacher: Frozen
    step: int = 0
    parts = ("student", "policy", "student_optimizer", "policy_optimizer")


def begin(method: RLKD, student: Network, teacher: Network, *, classes: int, settings: Optimiser) -> Run:
    """A run at step 0."""
    policy = Policy(len(members_of(teacher)), teacher.embedding_width + classes + 1)
    policy.to(next(student.parameters()).device)
    adam = torch.optim.Adam(policy.parameters(), lr=method.policy_lr)
    return Run(student, policy, sgd(list(student.parameters()), settings), adam, Frozen(teacher))


def fit(method: RLKD, run: Run, lessons: Iterable[Lesson], settings: Optimiser, *, steps: int) -> Iterator[Step]:
    """Train from `run.step` on, one step a lesson. Its quiz is looked at for the reward and never learned from.

    Who is picked is drawn from torch's state. Raises Diverged where a loss is not finite.
    """
    device = next(run.student.parameters()).device
    for lesson in lessons:
        lesson = ready(lesson, device)
        set_rate(run.student_optimizer, settings.lr * schedule(run.step, steps, settings.warmup_steps))
        told = run.teacher(lesson.train.strong)
        logits = run.policy(states(told, lesson.train.labels))
        first, second = run.step < method.alone * steps, run.step < (method.alone + method.policy) * steps
        heard = torch.ones_like(logits) if first else torch.bernoulli(logits.detach().sigmoid())
        terms: Losses = {}
        if first or not second:
            terms |= _teach(method, run, lesson, each_said(told), heard, settings)
        if not first:
            terms |= _rule(method, run, lesson, each_said(told), (logits, heard), settings)
        run.step += 1
        yield Step(run.step, terms)


def _teach(
    method: RLKD, run: Run, lesson: Lesson, teachers: Tensor, heard: Tensor, settings: Optimiser
) -> Losses:  # fmt: skip
    said = run.student.train()(lesson.train.strong).logits
    hard, soft = method.rows(said, teachers, lesson.train.labels, heard)
    terms = {"task": mean_or_zero(hard), "distillation": mean_or_zero(soft)}
    return descend(run.student_optimizer, terms, settings, step=run.step + 1)


def _rule(
    method: RLKD, run: Run, lesson: Lesson, teachers: Tensor, picked: tuple[Tensor, Tensor], settings: Optimiser
) -> Losses:  # fmt: skip
    logits, heard = picked
    earned = rewards(method, run.student, lesson, teachers, heard)
    loss = reinforce(logits, heard, run.policy.advantage(earned, decay=method.baseline))
    learned = descend(run.policy_optimizer, {"policy": loss}, settings, step=run.step + 1)
    return learned | {"reward": earned.mean(), "heard": heard.mean()}


@torch.no_grad()
def rewards(
    method: RLKD, student: Network, lesson: Lesson, teachers: Float[Tensor, "m n c"], heard: Float[Tensor, "n m"]
) -> Float[Tensor, " n"]:
    """Of each image of the lesson, from the student as it is now, in eval mode.

    Silence earns what hearing all would.
    """
    said, labels = student.eval()(lesson.train.strong).logits, lesson.train.labels
    wrong = F.cross_entropy(said, labels, reduction="none")
    if method.reward == "label":
        return -wrong
    heard = torch.where(heard.sum(-1, keepdim=True) > 0, heard, torch.ones_like(heard))
    both = -(wrong + heard_rows(said, teachers, heard, temperature=method.temperature))
    if method.reward == "loss":
        return both
    right = (student(lesson.quiz.weak).logits.argmax(-1) == lesson.quiz.labels).float().mean()
    return method.share * both + (1 - method.share) * right
