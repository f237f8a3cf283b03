"""The mean of several teachers, as Hu, Li, Liu, Chen, Wang, Liu, Teacher-Student Architecture for Knowledge Learning:
A Survey, 2022, sec. 4.2, describe it without a reference. https://arxiv.org/abs/2210.17332"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.losses.distillation import kl_rows
from tutelage.losses.ensembles import Mean, mean_answer
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.committee import each_said
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class MultiTeacherAvg(Method):
    """Answer each image as several teachers do on average, softened.

    Teachers come as a committee (`python -m tasks committee`); with one it is `kd`.
    """

    alpha: float = 0.9  # share of the soft labels; the value is KD's
    temperature: float = 4.0  # T of teachers and student; the value is KD's
    mean: Mean = "probabilities"  # of what: soft labels (arithmetic), or logits (geometric)
    unsupervised: float = 1.0  # what a pool image counts in the transfer set, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("alpha",), positive=("temperature",), weights=("unsupervised",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        said, told = nets.student(images).logits, each_said(nets.teacher(images))
        wanted = mean_answer(told, temperature=self.temperature, mean=self.mean)
        soft = kl_rows(said, wanted, temperature=self.temperature)
        return {
            "task": (1 - self.alpha) * F.cross_entropy(said[: len(labels)], labels),
            "distillation": self.alpha * weighted_mean(soft, trust),
        }
