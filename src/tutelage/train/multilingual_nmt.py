"""Multilingual Neural Machine Translation with Knowledge Distillation. Tan, Ren, He, Qin, Zhao, Liu. ICLR 2019.
https://arxiv.org/abs/1902.10461

One teacher a task, kept only as long as it is better than the student: for vision, a task is a dataset or a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.losses.targets import soft_cross_entropy
from tutelage.methods.method import check
from tutelage.types import BadInput


@dataclass(frozen=True, kw_only=True)
class MultilingualNMT:
    """Learn every task from its labels and its teacher, and leave a teacher that you are better than."""

    __pydantic_config__ = {"extra": "forbid"}
    share: float = 0.5  # lambda, of the teacher in the loss of a task
    top: int = 8  # K classes of a teacher's answer that are kept
    threshold: float = 0.0  # tau, by how much a student must be better; 1 BLEU in the paper, in the metric's own unit

    def __post_init__(self) -> None:
        check(self, shares=("share",), weights=("threshold",))
        if self.top < 1:
            raise BadInput(f"top of MultilingualNMT is {self.top}: at least 1 class is kept. 8 is the default")

    def loss(
        self, logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"], teacher: Float[Tensor, "n c"] | None
    ) -> Float[Tensor, ""]:
        """(1 - lambda) NLL + lambda cross entropy against the teacher's top K; the NLL alone without a teacher.

        `teacher` is probabilities. Means over the samples, eq. 3 and alg. 1.
        """
        hard = torch.nn.functional.cross_entropy(logits, labels)
        if teacher is None:
            return hard
        return (1 - self.share) * hard + self.share * soft_cross_entropy(logits, top_classes(teacher, self.top)).mean()


def top_classes(probabilities: Float[Tensor, "n c"], top: int) -> Float[Tensor, "n c"]:
    """The `top` likeliest classes of each row scaled to sum to one, the others 0: sec. 3.3."""
    values, places = probabilities.detach().topk(min(top, probabilities.shape[-1]), dim=-1)
    kept = torch.zeros_like(probabilities).scatter(-1, places, values)
    return kept / kept.sum(-1, keepdim=True)


def likeliest(probabilities: Float[Tensor, "n c"], top: int) -> Float[Tensor, "n c"]:
    """1 for the `top` likeliest classes of each row, else 0: what `top_classes` is where classes exclude nothing.

    Probabilities of classes that are each there or not do not sum to one, so nothing is scaled, and a class that is
    left out is no negative: of it the teacher is not asked. A factor on the loss of each class.
    """
    places = probabilities.topk(min(top, probabilities.shape[-1]), dim=-1).indices
    return torch.zeros_like(probabilities).scatter(-1, places, 1.0)


@dataclass(frozen=True)
class Teaching:
    """Which tasks a student still has a teacher in. All that a checkpoint needs."""

    active: Mapping[str, bool]

    @classmethod
    def begin(cls, tasks: list[str]) -> "Teaching":
        """Every task has its teacher."""
        return cls(dict.fromkeys(tasks, True))

    def judged(self, method: MultilingualNMT, student: Mapping[str, float], teacher: Mapping[str, float]) -> "Teaching":
        """After a check: a teacher is left where the student's score is above its own by more than the threshold, and
        comes back where the student falls behind that again (alg. 1, line 13). Higher scores are better.

        Raises BadInput where a task has no score.
        """
        missing = [task for task in self.active if task not in student or task not in teacher]
        if missing:
            raise BadInput(f"task {missing[0]} has no score of both student and teacher. Judge all of {[*self.active]}")
        return Teaching({task: student[task] <= teacher[task] + method.threshold for task in self.active})
