"""FitNets: Hints for Thin Deep Nets. Romero, Ballas, Kahou, Chassang, Gatta, Bengio. ICLR 2015.
https://arxiv.org/abs/1412.6550"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.maps import squared_rows
from tutelage.losses.targets import soft_cross_entropy, weighted_mean
from tutelage.methods.method import Method, Paced, check, transfer_set
from tutelage.models.pairs import Adapters, stage_pairs
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class FitNets(Method):
    """First imitate the middle of the teacher up to a guided layer, then learn labels and soft labels (alg. 1).

    The regressor is a 1 x 1 convolution with batch norm and no ReLU, on maps averaged to one size; the authors' has a
    kernel that shrinks them. In the first stage the loss leaves later layers alone, weight decay does not.
    """

    form: Literal["stages", "joint"] = "stages"  # or labels and hints at once, as toolkits do, without soft labels
    first: float = 0.3  # stages only: share of the run that learns hints; the paper stops by a validation set
    layers: tuple[str, ...] = ()  # pairs such as "stage2:stage3"; none: the middle ones, as in the paper
    weight: float = 100.0  # joint only: beta of the mean squared hint
    temperature: float = 3.0  # stages only: tau of student and teacher, sec. 2.1; there is no T^2
    start: float = 4.0  # lambda of the soft labels when the second stage starts, sec. 3
    end: float = 1.0  # lambda at the end of the run; it falls linearly
    unsupervised: float = 1.0  # what a pool image counts in hints and soft labels, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("first",), weights=("weight", "start", "end", "unsupervised"), positive=("temperature",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        pairs = stage_pairs(student, teacher, self.layers)
        hints = pairs if self.layers else [pairs[(len(pairs) - 1) // 2]]
        return Paced(Adapters(student, teacher, hints), sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        hints, progress = nets.extra(student.features, teacher.features)
        joint = self.form == "joint"
        apart = [squared_rows(*pair, elements="mean" if joint else "sum") for pair in hints]
        hint = weighted_mean(torch.stack(apart).sum(0), trust)
        task = F.cross_entropy(student.logits[: len(labels)], labels)
        told = (teacher.logits / self.temperature).softmax(-1)
        soft = weighted_mean(soft_cross_entropy(student.logits / self.temperature, told), trust)
        if joint:
            return {"task": task, "hint": self.weight * hint, "distillation": 0.0 * soft}
        second = (progress >= self.first).float()
        fallen = ((progress - self.first) / max(1 - self.first, 1e-6)).clamp(0, 1)
        decayed = self.start + (self.end - self.start) * fallen
        return {
            "task": second * task,
            "hint": (1 - second) * 0.5 * hint,
            "distillation": second * decayed * soft,
        }
