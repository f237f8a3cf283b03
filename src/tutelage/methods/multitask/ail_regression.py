"""Distilling Knowledge From a Deep Pose Regressor Network: Attentive Imitation Loss. Saputra, de Gusmao, Almalioglu,
Markham, Trigoni. ICCV 2019. https://arxiv.org/abs/1908.00858"""

from dataclasses import dataclass

from torch import nn

from tutelage.losses.regression import squared_error
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import check
from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.regression import Extremes, check_depth, compared
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import Losses, Sizes


@dataclass(frozen=True, kw_only=True)
class AILRegression(MultiMethod):
    """Learn depth from labels, and from a teacher as much as it was right about the same image.

    The paper regresses poses. Its loss was read in a secondary write-up.
    """

    pool = False
    alpha: float = 0.5  # share of the labels; the rest is the teacher's

    def __post_init__(self) -> None:
        check(self, shares=("alpha",))

    def init(self, student: Multi, teacher: Multi, sizes: Sizes) -> nn.Module:
        check_depth(student, teacher)
        return Extremes()

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        said = compared(nets, batch)
        trust = nets.extra(squared_error(said.teacher, said.labels, said.weight), said.seen)
        off = squared_error(said.student, said.labels, said.weight)
        apart = squared_error(said.student, said.teacher, said.weight)
        return {
            "depth": self.alpha * weighted_mean(off, said.seen),
            "imitation": (1 - self.alpha) * weighted_mean(trust * apart, said.seen),
        }
