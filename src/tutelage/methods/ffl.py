"""Feature Fusion for Online Mutual Knowledge Distillation. Kim, Hyun, Chung, Kwak. ICPR 2020.
https://arxiv.org/abs/1904.09058"""

from dataclasses import dataclass

from torch import nn

from tutelage.losses.peers import fused_terms
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.methods.method import Method, Paced, check, transfer_set
from tutelage.models.fused import Fused
from tutelage.models.peers import logits_of
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class FFL(Method):
    """Networks like you and a classifier on the last maps of all teach each other: their mean the classifier, it each.

    The authors give the classifier an optimizer of its own with a decay of 1e-5; here one moves everything.
    """

    teacher = "self"
    peers: int = 1  # networks beside the student
    temperature: float = 3.0  # T of all
    ramp: float = 0.27  # share of the run over which the divergences grow; the authors: 80 of 300 epochs
    unsupervised: float = 1.0  # what a pool image counts in the divergences, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("ramp",), weights=("unsupervised",), positive=("peers", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Paced(Fused(student, sizes.classes, count=self.peers), sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, trust = transfer_set(batch, self.unsupervised)
        student = nets.student(images)
        (others, fused), progress = nets.extra(images, student.features)
        said, scale = logits_of([student, *others]), sigmoid_ramp(progress, over=self.ramp)
        return fused_terms(
            said, fused, labels=batch.labeled.labels, trust=trust, scale=scale, temperature=self.temperature
        )
