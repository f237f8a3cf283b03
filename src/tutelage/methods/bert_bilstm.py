"""Distilling Task-Specific Knowledge from BERT into Simple Neural Networks. Tang, Lu, Liu, Mou, Vechtomova, Lin. 2019.
https://arxiv.org/abs/1903.12136"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.losses.distillation import Reduction
from tutelage.losses.maps import squared_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class BertBiLSTM(Method):
    """Give each class the very logit that a teacher gives it (sec. 3.3): unlike soft labels, a shift of all counts.

    The paper's networks read text; the loss asks for logits alone. Its augmented sentences are the pool here.
    """

    alpha: float = 0.0  # share of cross entropy; 0 in most published runs
    reduction: Reduction = "mean"  # over classes too, as in the code; "batchmean" is the norm of the paper
    unsupervised: float = 1.0  # what a pool image counts in the transfer set, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("alpha",), weights=("unsupervised",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        said, told = nets.student(images).logits, nets.teacher(images).logits
        apart = squared_rows(said, told, elements="mean" if self.reduction == "mean" else "sum")
        return {
            "task": self.alpha * F.cross_entropy(said[: len(labels)], labels),
            "distillation": (1 - self.alpha) * weighted_mean(apart, trust),
        }
