"""KDGAN: Knowledge Distillation with Generative Adversarial Networks. Wang, Zhang, Sun, Qi. NeurIPS 2018.

That work has no arXiv page. Labels are drawn as in Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax,
ICLR 2017. https://arxiv.org/abs/1611.01144

A critic is to tell true labels of an image from those that a student and a teacher would give it; both learn to be
taken for the truth, and from each other. The authors take turns by epochs (20, 10, 10) and train all three before; here
all move in every step, after a share of the run in which the student learns labels alone.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.data.batches import on_device
from tutelage.losses.adversarial import label_game
from tutelage.methods.method import check
from tutelage.models.average import Frozen
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import Batch, Labeled, Losses, Network


@dataclass(frozen=True, kw_only=True)
class KDGAN:
    """A student whose labels a critic cannot tell from true ones, while its teacher learns from it too.

    What the teacher sees beside is the weak view, where the student and the critic see the strong one. Labels are drawn
    by Gumbel softmax, so that a critic's verdict has a slope.
    """

    __pydantic_config__ = {"extra": "forbid"}
    share: float = 0.5  # alpha, of the student's labels among those that are not true
    student: float = 1.0  # beta, of what the student learns from the teacher
    teacher: float = 1.0  # gamma, of what the teacher learns from the student
    distil: Literal["mimic", "distn"] = "distn"  # half the squared distance of logits; or its mean over classes,
    # which a temperature T of both and a factor of T^2 would leave as it is, and the label too
    soft: float = 0.3  # distn: share of the logits; the rest is the label
    hottest: float = 10.0  # temperature of the Gumbel softmax when the game begins
    coldest: float = 0.1  # at the end of the run; it falls by the same factor in every step
    first: float = 0.2  # share of the run in which the student learns labels alone
    teacher_lr: float = 1e-3  # of the teacher, under the same schedule as the others

    def __post_init__(self) -> None:
        positive = ("hottest", "coldest")
        check(self, shares=("share", "soft", "first"), weights=("student", "teacher", "teacher_lr"), positive=positive)

    def from_other(
        self, ours: Float[Tensor, "n c"], other: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """L_DS: what one learns from the other, which does not learn from it."""
        if self.distil == "mimic":
            return 0.5 * (ours - other.detach()).square().sum(-1).mean()
        return (1 - self.soft) * F.cross_entropy(ours, labels) + self.soft * F.mse_loss(ours, other.detach())

    def heat(self, progress: float) -> float:
        """Of the Gumbel softmax, `progress` of the game being over. It stays at the coldest afterwards."""
        return float(self.hottest * (self.coldest / self.hottest) ** min(progress, 1.0))


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: Network
    teacher: Network
    critic: Network
    student_optimizer: torch.optim.Optimizer
    teacher_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "teacher", "critic", "student_optimizer", "teacher_optimizer", "critic_optimizer")


def begin(student: Network, teacher: Network, critic: Network, settings: Optimiser) -> Run:
    """A run at step 0. The teacher is copied; a critic's logit of a class is that of its being the true one."""
    learning = copy.deepcopy(teacher.net if isinstance(teacher, Frozen) else teacher).requires_grad_(True)
    ours, theirs, judge = (sgd(list(net.parameters()), settings) for net in (student, learning, critic))
    return Run(student, learning, critic, ours, theirs, judge)


def fit(method: KDGAN, run: Run, batches: Iterable[Batch], settings: Optimiser, *, steps: int) -> Iterator[Step]:
    """Train from `run.step` on, one step of all that learns a batch, of its labelled images.

    Labels are drawn from torch's state. Raises Diverged where a loss is not finite.
    """
    device = next(run.student.parameters()).device
    for batch in batches:
        labeled = Labeled(*(on_device(x, device) for x in batch.labeled))
        scale = schedule(run.step, steps, settings.warmup_steps)
        for optimizer, rate in ((run.student_optimizer, settings.lr), (run.critic_optimizer, settings.lr),
                                (run.teacher_optimizer, method.teacher_lr)):  # fmt: skip
            set_rate(optimizer, rate * scale)
        start = method.first * steps
        if run.step < start:
            wrong = {"task": F.cross_entropy(run.student.train()(labeled.strong).logits, labeled.labels)}
            terms = descend(run.student_optimizer, wrong, settings, step=run.step + 1)
        else:
            terms = _play(method, run, labeled, method.heat((run.step - start) / max(steps - start, 1)), settings)
        run.step += 1
        yield Step(run.step, terms)


def _play(method: KDGAN, run: Run, labeled: Labeled, heat: float, settings: Optimiser) -> Losses:
    """The critic, the teacher, the student, each against what the others said before any moved. The teacher keeps its
    batch norm, as one that is read."""
    labels, step = labeled.labels, run.step + 1
    said, told = run.student.train()(labeled.strong).logits, run.teacher.eval()(labeled.weak).logits
    ours, theirs = (F.gumbel_softmax(logits, tau=heat) for logits in (said, told))
    judged = run.critic.train()(labeled.strong).logits
    true = judged.gather(1, labels[:, None])[:, 0]
    value = label_game(true, (judged * ours.detach()).sum(-1), (judged * theirs.detach()).sum(-1), share=method.share)
    terms = descend(run.critic_optimizer, {"critic": -value}, settings, step=step)
    verdict = judged.detach()
    nobody = verdict.new_full((len(labels),), torch.inf)  # true labels, which neither can change
    played = label_game(nobody, (verdict * ours).sum(-1), (verdict * theirs.detach()).sum(-1), share=method.share)
    learned = {"fooling": played, "distillation": method.student * method.from_other(said, told, labels)}
    played = label_game(nobody, (verdict * ours.detach()).sum(-1), (verdict * theirs).sum(-1), share=method.share)
    taught = {
        "teacher_fooling": played,
        "teacher_distillation": method.teacher * method.from_other(told, said, labels),
    }
    terms |= descend(run.teacher_optimizer, taught, settings, step=step)
    return terms | descend(run.student_optimizer, learned, settings, step=step)
