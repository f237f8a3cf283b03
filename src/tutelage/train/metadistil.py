"""BERT Learns to Teach: Knowledge Distillation with Meta Learning. Zhou, Xu, McAuley. ACL 2022.
https://arxiv.org/abs/2106.04570

The steps are those of the authors' code for images. It keeps the teacher's batch norm in eval mode throughout.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from tutelage.losses.distillation import Reduction, kl_rows
from tutelage.methods.method import check
from tutelage.models.average import Frozen
from tutelage.train.lessons import Lesson, Resumable, descend, move, ready
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import Losses, Network


@dataclass(frozen=True, kw_only=True)
class MetaDistil:
    """A teacher that learns to teach: it moves to where a student, after one lesson, does better in a quiz.

    The lesson is KD. How well it went is measured on labelled images kept out of training, and differentiated through
    the student's step back to the teacher.
    """

    __pydantic_config__ = {"extra": "forbid"}
    alpha: float = 0.9  # share of the soft labels; the authors' scripts give none, this is KD's
    temperature: float = 4.0  # T of teacher and student
    reduction: Reduction = "batchmean"  # or "mean", classes times smaller
    assumed_lr: float = 0.05  # of the step that the student is assumed to take; falls as its own rate does
    teacher_lr: float = 0.05  # of the teacher, under the same schedule as the student
    wait: float = 0.0  # share of the run before the teacher starts to learn; 0.62 in the authors' code

    def __post_init__(self) -> None:
        check(self, shares=("alpha", "wait"), positive=("temperature", "assumed_lr"), weights=("teacher_lr",))

    def lesson(
        self, student: Float[Tensor, "n c"], teacher: Float[Tensor, "n c"], labels: Tensor, *, teacher_learns: bool
    ) -> Losses:
        """The terms that the student learns from: KD."""
        soft = kl_rows(
            student,
            teacher,
            temperature=self.temperature,
            reduction=self.reduction,
            teacher_learns=teacher_learns,
        )
        return {"task": (1 - self.alpha) * F.cross_entropy(student, labels), "distillation": self.alpha * soft.mean()}


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: Network
    teacher: Network
    student_optimizer: torch.optim.Optimizer
    teacher_optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "teacher", "student_optimizer", "teacher_optimizer")


def begin(student: Network, teacher: Network, settings: Optimiser) -> Run:
    """A run at step 0. The teacher is copied: the file it came from is some other student's teacher too."""
    learning = copy.deepcopy(teacher.net if isinstance(teacher, Frozen) else teacher).requires_grad_(True)
    of_student, of_teacher = (sgd(list(net.parameters()), settings) for net in (student, learning))
    return Run(student, learning, of_student, of_teacher)


def fit(method: MetaDistil, run: Run, lessons: Iterable[Lesson], settings: Optimiser, *, steps: int) -> Iterator[Step]:
    """Train student and teacher from `run.step` on, one step a lesson, in full precision where the student lies.

    Raises Diverged where a loss is not finite; the step before it is then the last that changed the student.
    """
    device = next(run.student.parameters()).device
    for lesson in lessons:
        lesson = ready(lesson, device)
        scale = schedule(run.step, steps, settings.warmup_steps)
        set_rate(run.student_optimizer, settings.lr * scale)
        set_rate(run.teacher_optimizer, method.teacher_lr * scale)
        run.student.train()
        run.teacher.eval()
        terms: Losses = {}
        if run.step >= method.wait * steps:
            score, gradients = meta_gradient(
                method, run.student, run.teacher, lesson, assumed_lr=method.assumed_lr * scale
            )
            for parameter, gradient in zip(run.teacher.parameters(), gradients, strict=True):
                parameter.grad = gradient
            terms["quiz"] = score
            move(run.teacher_optimizer, terms, settings, step=run.step + 1)
        with torch.no_grad():
            told = run.teacher(lesson.train.strong).logits
        said = run.student(lesson.train.strong).logits
        wrong = method.lesson(said, told, lesson.train.labels, teacher_learns=False)
        learned = descend(run.student_optimizer, wrong, settings, step=run.step + 1)
        run.step += 1
        yield Step(run.step, {**learned, **terms})


def meta_gradient(
    method: MetaDistil, student: Network, teacher: Network, lesson: Lesson, *, assumed_lr: float
) -> tuple[Float[Tensor, ""], tuple[Tensor, ...]]:
    """How the student would do in the quiz after a plain gradient step on the lesson, and d quiz / d teacher.

    Nothing moves: parameters and statistics of both networks stay as they are.
    """
    parameters: dict[str, Tensor] = dict(student.named_parameters())
    buffers = {name: value.clone() for name, value in student.named_buffers()}
    said = functional_call(student, (parameters, buffers), (lesson.train.strong,)).logits
    terms = method.lesson(said, teacher(lesson.train.strong).logits, lesson.train.labels, teacher_learns=True)
    loss = torch.stack(list(terms.values())).sum()
    slopes = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    moved = {name: p - assumed_lr * slope for (name, p), slope in zip(parameters.items(), slopes, strict=True)}
    answers = functional_call(student, (moved, buffers), (lesson.quiz.weak,)).logits
    quiz = F.cross_entropy(answers, lesson.quiz.labels)
    return quiz.detach(), torch.autograd.grad(quiz, list(teacher.parameters()), materialize_grads=True)
