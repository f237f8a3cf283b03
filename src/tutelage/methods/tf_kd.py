"""Revisiting Knowledge Distillation via Label Smoothing Regularization. Yuan, Tay, Li, Wang, Feng. CVPR 2020.
https://arxiv.org/abs/1909.11723"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F

from tutelage.losses.distillation import Reduction, soft_label_kl, target_kl, virtual_teacher
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets

# alpha, T and multiplier of the authors' ResNet18 on CIFAR-100. Their multipliers, 50 and 100, go with "mean" over 100
# classes; divided by these they are the same with "batchmean" and hold for any number of classes.
_PAPER = {"self": (0.95, 6.0, 0.5), "reg": (0.1, 20.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class TfKD(Method):
    """Do without a better teacher: learn from an earlier self, or from a virtual teacher that is right by design."""

    pool = False
    mode: Literal["self", "reg"] = "self"  # an earlier self teaches; or a virtual one: name any, none is asked
    alpha: float | None = None  # share of the soft labels; left out: the authors', 0.95 (self) or 0.1 (reg)
    temperature: float | None = None  # T; left out: 6 (self) or 20 (reg)
    multiplier: float | None = None  # of the divergence; left out: 0.5 (self) or 1 (reg)
    reduction: Reduction = "batchmean"  # "mean", with multiplier 50 (self) or 100 (reg), is the authors' code
    correct: float = 0.99  # a, reg only: the virtual teacher's probability of the label
    target: Literal["code", "power"] = "code"  # reg only: softmax(p / T) as the authors run, or p^(1/T) normalised

    def __post_init__(self) -> None:
        check(self, shares=("alpha",), positive=("temperature", "correct"), weights=("multiplier",))
        check(self, shares=("correct",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, labels = batch.labeled.strong, batch.labeled.labels
        given = (self.alpha, self.temperature, self.multiplier)
        pairs = zip(given, _PAPER[self.mode], strict=True)
        alpha, temperature, multiplier = (own if own is not None else paper for own, paper in pairs)
        student = nets.student(images).logits
        if self.mode == "self":
            teacher = nets.teacher(images).logits
            told = soft_label_kl(student, teacher, temperature=temperature, reduction=self.reduction)
        else:  # the student is not softened, and there is no T^2
            p = virtual_teacher(
                labels, student.shape[1], correct=self.correct, temperature=temperature, form=self.target
            )
            told = target_kl(student, p, reduction=self.reduction)
        return {
            "task": (1 - alpha) * F.cross_entropy(student, labels),
            "distillation": alpha * multiplier * told,
        }
