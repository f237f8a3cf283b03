"""A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning. Yim, Joo, Bae,
Kim. CVPR 2017. https://doi.org/10.1109/CVPR.2017.754"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.maps import flow, squared_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, TwoStages, check, transfer_set
from tutelage.models.pairs import Adapters, pooled_to_smaller, stage_pairs
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class FSP(Method):
    """First learn how the teacher's maps flow from stage to stage, then learn the labels from there (sec. 3.4).

    Stages take the place of the paper's modules of residual blocks. Its networks have equal widths; a student's map of
    another width goes through a 1 x 1 convolution with batch norm, which is dropped with the first stage.
    """

    first: float = 0.33  # share of the run that learns the flow; labels are not read in it
    elements: Literal["sum", "mean"] = "sum"  # of squares, eq. 2; "mean" with weight 50 is that of RepDistiller
    weight: float = 1.0  # lambda, the same for all flows
    pooling: Literal["max", "average"] = "max"  # how the larger map of a flow is brought to the smaller
    layers: tuple[str, ...] = ()  # pairs such as "stage2:stage3", in order, two or more; none: found
    unsupervised: float = 1.0  # what a pool image counts in the flow, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("first",), weights=("weight", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        pairs = stage_pairs(student, teacher, self.layers)
        if len(pairs) < 2:
            raise BadInput(f"FSP sees the stages {pairs}: a flow needs two. Name two pairs in layers")
        return TwoStages(Adapters(student, teacher, pairs, adapt="unequal"), sizes.steps, self.first)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student = nets.student(images)
        maps, second = nets.extra(student.features, nets.teacher(images).features)
        ours, theirs = zip(*maps, strict=True)
        flows = zip(self._flows(ours), self._flows(theirs), strict=True)
        apart = torch.stack([squared_rows(*pair, elements=self.elements) for pair in flows]).sum(0)
        return {
            "task": second * F.cross_entropy(student.logits[: len(labels)], labels),
            "flow": (1 - second) * self.weight * weighted_mean(apart, trust),
        }

    def _flows(self, maps: tuple[Tensor, ...]) -> list[Float[Tensor, "n _ _"]]:
        return [flow(*pooled_to_smaller(*pair, largest=self.pooling == "max")) for pair in pairwise(maps)]
