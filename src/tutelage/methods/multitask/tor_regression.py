"""An Efficient Method of Training Small Models for Regression Problems with Knowledge Distillation. Takamoto,
Morishita, Imaoka. MIPR 2020. https://arxiv.org/abs/2002.12597"""

from dataclasses import dataclass

from torch import nn

from tutelage.losses.regression import outlier_rejection, row_means
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import check
from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.regression import check_depth, compared
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import Losses, Sizes


@dataclass(frozen=True, kw_only=True)
class TORRegression(MultiMethod):
    """Learn depth from labels unless the teacher finds them absurd, and with a second head what the teacher says.

    A label that is farther from the teacher than others are is an outlier, and the teacher's answer takes its place.
    The second head ends with the run. The paper's formula could not be checked: this is one that does what it says.
    """

    pool = False
    threshold: float = 3.0  # c, deviations from which on a label is an outlier
    weight: float = 1.0  # lambda, of the second head

    def __post_init__(self) -> None:
        check(self, positive=("threshold",), weights=("weight",))

    def init(self, student: Multi, teacher: Multi, sizes: Sizes) -> nn.Module:
        from tutelage.models.multi import DenseHead  # with torchvision, which takes seconds to load

        check_depth(student, teacher)
        channels = next(iter(student.widths.values()))
        return DenseHead(len(student.widths), channels, channels, 1)

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        said = compared(nets, batch)
        second = nets.extra(said.pyramids[0], batch.labeled.images.shape[-1]).float()[said.rows].flatten(1)
        labelled = outlier_rejection(said.student, said.teacher, said.labels, said.weight, threshold=self.threshold)
        apart = row_means((second - said.teacher.detach()).abs(), said.weight)
        return {
            "depth": weighted_mean(labelled, said.seen),
            "second_head": self.weight * weighted_mean(apart, said.seen),
        }
