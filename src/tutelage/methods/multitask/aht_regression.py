"""Distilling Knowledge From a Deep Pose Regressor Network: Attentive Hint Training. Saputra, de Gusmao, Almalioglu,
Markham, Trigoni. ICCV 2019. https://arxiv.org/abs/1908.00858"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.maps import squared_rows
from tutelage.losses.regression import squared_error
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Clock, check
from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.regression import Compared, Extremes, check_depth, compared
from tutelage.models.pyramid_adapters import PyramidAdapters
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import Losses, Sizes


@dataclass(frozen=True, kw_only=True)
class AHTRegression(MultiMethod):
    """First see images as the teacher does, then learn depth on top: both as much as the teacher was right.

    The guided layer is the pyramid, so all but the head learns first, and the head alone second, by ail_regression: no
    gradient reaches the pyramid then, weight decay does, and batch norm averages on. Hints are means over the elements
    of a level, where the paper sums, and sums over levels. The formula was read in a secondary write-up.
    """

    pool = False
    first: float = 0.5  # share of the run that learns hints; the paper's stages are 30 epochs each
    alpha: float = 0.5  # share of the labels in the second stage; the rest is the teacher's

    def __post_init__(self) -> None:
        check(self, shares=("first", "alpha"))

    def init(self, student: Multi, teacher: Multi, sizes: Sizes) -> nn.Module:
        check_depth(student, teacher)
        return Hints(PyramidAdapters(student, teacher), sizes.steps)

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        said = compared(nets, batch)
        hints, trust, progress = nets.extra(said, squared_error(said.teacher, said.labels, said.weight))
        second = (progress >= self.first).float()
        for m in said.pyramids[0].values():
            m.register_hook(lambda gradient: gradient * (1 - second))
        off = squared_error(said.student, said.labels, said.weight)
        apart = trust * squared_error(said.student, said.teacher, said.weight)
        return {
            "depth": second * self.alpha * weighted_mean(off, said.seen),
            "imitation": second * (1 - self.alpha) * weighted_mean(apart, said.seen),
            "hint": (1 - second) * weighted_mean(trust * hints, said.seen),
        }


class Hints(nn.Module):
    """The student's pyramid at the teacher's channels, the teacher's worth, and how far the run is."""

    def __init__(self, adapters: PyramidAdapters, steps: int):
        super().__init__()
        self.adapters, self.extremes, self.clock = adapters, Extremes(), Clock(steps)

    def forward(self, said: Compared, error: Tensor) -> tuple[Tensor, Tensor, Float[Tensor, ""]]:
        """Squared distance of the pyramids and Phi of each of m images, and the share of the run that is over."""
        student, teacher = said.pyramids
        each = [squared_rows(m, teacher[level], elements="mean") for level, m in self.adapters(student).items()]
        return torch.stack(each).sum(0)[said.rows], self.extremes(error, said.seen), self.clock.progress(1.0)
