"""Contrastive adversarial knowledge distillation for deep model compression in time-series regression tasks. Xu, Chen,
Ragab, Wang, Wu, Li. Neurocomputing 2022. https://doi.org/10.1016/j.neucom.2021.04.139"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.adversarial import critic_loss, reversed_gradient
from tutelage.losses.regression import squared_error
from tutelage.losses.selfsupervision import cosines, matching_loss
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import check
from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.regression import Maps, check_depth, compared
from tutelage.models.critics import vector_critic
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import Losses, Sizes


@dataclass(frozen=True, kw_only=True)
class CAKDRegression(MultiMethod):
    """Learn depth from labels and teacher, and see each image as the teacher does, so that no critic can tell the two
    apart and no other image of the batch is nearer.

    Features are means over positions of the pyramid. The critic learns in the same step, its gradient reversed for the
    student. The paper compresses networks on time series; its formulas, and weights, could not be checked.
    """

    pool = False
    imitation: float = 1.0  # a, of the teacher's answer
    adversarial: float = 0.1  # b, of the critic
    contrast: float = 0.1  # c, of the contrast between images
    temperature: float = 0.1  # tau of the contrast
    hidden: int = 64  # units of the critic's one hidden layer

    def __post_init__(self) -> None:
        check(self, weights=("imitation", "adversarial", "contrast"), positive=("temperature", "hidden"))

    def init(self, student: Multi, teacher: Multi, sizes: Sizes) -> nn.Module:
        check_depth(student, teacher)
        return Watched(sum(student.widths.values()), sum(teacher.widths.values()), self.hidden)

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        said = compared(nets, batch)
        ours, theirs, of_student, of_teacher = nets.extra(*said.pyramids)
        off = squared_error(said.student, said.labels, said.weight)
        apart = squared_error(said.student, said.teacher, said.weight)
        alike = cosines(ours, theirs) / self.temperature
        return {
            "depth": weighted_mean(off, said.seen),
            "imitation": self.imitation * weighted_mean(apart, said.seen),
            "adversarial": self.adversarial * critic_loss(of_teacher, of_student, form="bce"),
            "contrast": self.contrast * matching_loss(alike, trust=torch.ones_like(alike[:, 0])),
        }


class Watched(nn.Module):
    """What both networks see in an image, at the teacher's width, and what a critic takes them for."""

    def __init__(self, student: int, teacher: int, hidden: int):
        super().__init__()
        self.adapter, self.critic = nn.Linear(student, teacher), vector_critic(teacher, (hidden,))

    def forward(self, student: Maps, teacher: Maps) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of student and teacher [n, d], and the critic's verdicts on them [n, 1]."""
        ours, theirs = self.adapter(_means(student)).float(), _means(teacher)
        return ours, theirs, self.critic(reversed_gradient(ours)), self.critic(theirs)


def _means(maps: Maps) -> Float[Tensor, "n d"]:
    return torch.cat([m.float().mean((2, 3)) for m in maps.values()], dim=1)
