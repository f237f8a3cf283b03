"""Distilling the Knowledge in a Neural Network. Hinton, Vinyals, Dean. NIPS 2014 workshop.
https://arxiv.org/abs/1503.02531"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.losses.distillation import Reduction, kl_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class KD(Method):
    """Answer each image as a teacher does, softened so that its second thoughts are heard (sec. 2).

    The transfer set is the labelled images and, as sec. 2 allows, images without labels: the pool, where there is one.
    """

    alpha: float = 0.9  # share of the soft labels; 1 - alpha is cross entropy
    temperature: float = 4.0  # T of teacher and student
    reduction: Reduction = "batchmean"  # or "mean", classes times smaller, as in the code of TAKD
    unsupervised: float = 1.0  # what a pool image counts in the transfer set, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("alpha",), positive=("temperature",), weights=("unsupervised",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        # One forward: batch norm sees the transfer set as a whole. Both networks see the same view.
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images).logits, nets.teacher(images).logits
        soft = kl_rows(student, teacher, temperature=self.temperature, reduction=self.reduction)
        return {
            "task": (1 - self.alpha) * F.cross_entropy(student[: len(labels)], labels),
            "distillation": self.alpha * weighted_mean(soft, trust),
        }
