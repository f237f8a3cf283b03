"""Learning Efficient Object Detection Models with Knowledge Distillation: its bounded regression. Chen, Choi, Yu, Han,
Chandraker. NIPS 2017. Also in the comparison of Saputra et al. ICCV 2019. https://arxiv.org/abs/1908.00858"""

from dataclasses import dataclass

from torch import nn

from tutelage.losses.regression import bounded_error, huber, squared_error
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import check
from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.regression import check_depth, compared
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import Losses, Sizes


@dataclass(frozen=True, kw_only=True)
class TeacherBoundedRegression(MultiMethod):
    """Learn depth from labels, and more so where the teacher still does better.

    The teacher is no target, only a bound: a student that beats it by a margin is left alone. In the paper the numbers
    are the sides of boxes. Its loss was read in a secondary write-up.
    """

    pool = False
    weight: float = 0.5  # nu, of what the bound lets through
    margin: float = 0.01  # m, in squared differences of ln depth; the paper tunes it

    def __post_init__(self) -> None:
        check(self, weights=("weight", "margin"))

    def init(self, student: Multi, teacher: Multi, sizes: Sizes) -> nn.Module:
        check_depth(student, teacher)
        return nn.Identity()

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        said = compared(nets, batch)
        ours, theirs = (squared_error(x, said.labels, said.weight) for x in (said.student, said.teacher))
        bounded = bounded_error(ours, theirs, margin=self.margin)
        return {
            "depth": weighted_mean(huber(said.student, said.labels, said.weight), said.seen),
            "bounded": self.weight * weighted_mean(bounded, said.seen),
        }
