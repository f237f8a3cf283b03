"""Deep Mutual Learning. Zhang, Xiang, Hospedales, Lu. CVPR 2018. https://arxiv.org/abs/1706.00384"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from tutelage.losses.peers import all_learn, each_kl, others_kl, others_mean
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.peers import Peers, logits_of
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class DML(Method):
    """Learn together with networks like you, all from the start: each learns the labels and what the others say.

    All take a step at once (the paper: in turns), under one clip of gradients; the student alone is kept.
    """

    teacher = "self"
    peers: int = 1  # networks beside the student; the paper's cohorts have up to 4
    form: Literal["each", "mean"] = "each"  # what is learned from: each other network, eq. 9, or their mean, DML_e
    weight: float = 1.0  # of the divergence; the paper has none
    temperature: float = 1.0  # T of all
    unsupervised: float = 1.0  # what a pool image counts in the divergence, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("weight", "unsupervised"), positive=("peers", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Peers(student, self.peers)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, trust = transfer_set(batch, self.unsupervised)
        said = logits_of([nets.student(images), *nets.extra(images)])
        if self.form == "each":
            rows = others_kl(said, said, temperature=self.temperature)
        else:
            rows = each_kl(said, others_mean(said, temperature=self.temperature), temperature=self.temperature)
        return {
            "task": all_learn(said, batch.labeled.labels),
            "mutual": self.weight * weighted_mean(rows.sum(0), trust),
        }
