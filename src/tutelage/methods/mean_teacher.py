"""Mean teachers are better role models: Weight-averaged consistency targets improve semi-supervised deep learning
results. Tarvainen, Valpola. NeurIPS 2017. https://arxiv.org/abs/1703.01780"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.consistency import softmax_mse
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.losses.targets import mean_or_zero, trusted_cross_entropy
from tutelage.methods.method import Clock, Method, check
from tutelage.models.average import follow
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class MeanTeacher(Method):
    """Agree with a moving average of yourself on every image, labelled or not.

    Two deviations. The student sees the strong view and its teacher the weak one (the authors draw both from one
    distribution). The teacher is in eval mode on averaged batch statistics (the authors' averages parameters only and
    normalises by its batch), so its answer on an image does not depend on the others.
    """

    teacher = "copy"
    weight: float = 100.0  # c for CIFAR-10, about classes squared: the squared distance is divided by the classes
    decay: float = 0.999  # alpha, at most; the teacher of step t averages over no more than t + 1 steps
    ramp: float = 0.03  # share of the run over which the weight grows; the authors: 5 of 180 epochs
    pseudo: float = 0.0  # weight of the pseudo-labels that were written before the run; the paper has none
    unsupervised: float = 1.0  # the guard's factor on the consistency and the pseudo-labels

    def __post_init__(self) -> None:
        check(self, shares=("decay", "ramp"), weights=("weight", "pseudo", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Clock(sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        clock, labeled, pool = nets.extra, batch.labeled, batch.unlabeled
        assert isinstance(clock, Clock)
        # One forward: batch norm sees labelled and pool images together, and the average inherits those statistics.
        student = nets.student(torch.cat([labeled.strong, pool.strong])).logits
        teacher = nets.teacher(torch.cat([labeled.weak, pool.weak])).logits
        known, noisy = student.split([len(labeled.labels), len(pool.strong)])
        scale = self.weight * sigmoid_ramp(clock.progress(self.ramp))
        pseudo = trusted_cross_entropy(noisy, pool.target, pool.weight)
        return {
            "task": F.cross_entropy(known, labeled.labels),
            "consistency": self.unsupervised * scale * mean_or_zero(softmax_mse(student, teacher)),
            "pseudo": self.unsupervised * self.pseudo * pseudo,
        }

    def after_step(self, nets: Nets, step: int) -> None:
        super().after_step(nets, step)
        follow(nets.teacher, nets.student, step, most=self.decay)
