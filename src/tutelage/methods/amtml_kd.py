"""Adaptive Multi-Teacher Multi-level Knowledge Distillation. Liu, Zhang, Wang. Neurocomputing 2020.
https://arxiv.org/abs/2103.04062"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.distillation import Reduction, kl_rows
from tutelage.losses.ensembles import weighted_answer
from tutelage.losses.maps import squared_rows
from tutelage.losses.relations import relational_angle, relational_distance
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, TwoStages, check, transfer_set
from tutelage.models.committee import each, each_said, members_of
from tutelage.models.hearing import Hearing
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class AMTMLKD(Method):
    """Hear each of several teachers as much as the image at hand asks for, and learn answers, relations and maps.

    What each counts is learned in the first part of the run and stays then. Defaults are those of the authors' code,
    whose cross entropy is at T; here it is at 1. Teachers come as a committee (`python -m tasks committee`).
    """

    first: float = 0.286  # share of the run that learns whom to hear, 80 of 280 epochs
    alpha: float = 0.7  # the soft labels count twice this, labels what is left to 1
    temperature: float = 5.0  # T of teachers and student
    reduction: Reduction = "mean"  # or "batchmean", classes times larger
    angle: float = 1.0  # of angles between the student's log-probabilities and between the mixed soft labels
    distance: float = 1.0  # of distances between them
    hint: float = 1.0  # of each teacher's middle map, of unit length; the authors' code drops it after the first part
    prior: float = 0.1  # of the squared lengths of what is learned about teachers
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1; a pair counts their product

    def __post_init__(self) -> None:
        weights = ("angle", "distance", "hint", "prior", "unsupervised")
        check(self, shares=("first", "alpha"), weights=weights, positive=("first", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return TwoStages(Hearing(student, members_of(teacher)), sizes.steps, self.first)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teachers = nets.student(images), nets.teacher(images)
        (learning, kept, hints, length), second = nets.extra(student.features, [x.features for x in each(teachers)])
        weights = second * kept + (1 - second) * learning
        wanted = weighted_answer(each_said(teachers), weights, temperature=self.temperature)
        soft = kl_rows(
            student.logits, wanted, temperature=self.temperature, reduction=self.reduction, teacher_learns=True
        )
        said, told = (student.logits / self.temperature).log_softmax(-1), (wanted / self.temperature).softmax(-1)
        apart = torch.stack([self._unit_rows(*pair) for pair in hints]).sum(0)
        return {
            "task": (1 - self.alpha) * F.cross_entropy(student.logits[: len(labels)], labels),
            "distillation": 2 * self.alpha * weighted_mean(soft, trust),
            "angle": self.angle * relational_angle(said, told, trust=trust),
            "distance": self.distance * relational_distance(said, told, trust=trust),
            "hint": self.hint * weighted_mean(apart, trust),
            "prior": (1 - second) * self.prior * length,
        }

    def _unit_rows(self, ours: Tensor, theirs: Tensor) -> Tensor:
        return squared_rows(F.normalize(ours.flatten(1)), F.normalize(theirs.flatten(1)))
