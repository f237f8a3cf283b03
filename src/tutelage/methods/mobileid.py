"""Face Model Compression by Distilling Knowledge from Neurons. Luo, Zhu, Liu, Wang, Tang. AAAI 2016.
https://doi.org/10.1609/aaai.v30i1.10449"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.maps import squared_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Clock, Method, check, transfer_set
from tutelage.models.neurons import Statistics, chosen
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class MobileID(Method):
    """Learn the neurons of the teacher that tell classes apart and do not repeat each other, and forget the rest.

    The paper chooses by minimising an energy of single neurons and pairs; here they are taken greedily by Fisher ratio
    while they do not correlate with those before, on labelled images of the first steps. Until then all are learned.
    """

    first: float = 0.1  # share of the run in which neurons are watched; at its end they are chosen
    correlation: float = 0.8  # from this on, + or -, two neurons say the same
    most: float = 0.5  # share of the teacher's neurons that are chosen, at most
    weight: float = 1.0  # of the squared distance, a sum over chosen neurons
    label: float = 1.0  # weight of the labels; the paper reads none, but its students do not classify
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("first", "correlation", "most"), weights=("weight", "label", "unsupervised"))
        check(self, positive=("first", "most"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Neurons(student.embedding_width, teacher.embedding_width, sizes, self.first)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, told = nets.student(images), nets.teacher(images).embedding
        guess, kept = nets.extra(student.embedding, told[: len(labels)], labels)
        return {
            "task": self.label * F.cross_entropy(student.logits[: len(labels)], labels),
            "neurons": self.weight * weighted_mean(squared_rows(kept * guess, kept * told), trust),
        }

    def after_step(self, nets: Nets, step: int) -> None:
        super().after_step(nets, step)
        neurons = nets.extra
        assert isinstance(neurons, Neurons)
        if step >= max(1, round(self.first * neurons.clock.steps)) and not neurons.decided:  # that step may be skipped
            neurons.decided.fill_(True)
            seen, most = neurons.seen, max(1, round(self.most * len(neurons.kept)))
            worth = chosen(seen.fisher(), seen.correlation(), limit=self.correlation, most=most)
            neurons.kept.copy_(torch.where(worth.any(), worth.float(), neurons.kept))  # none tells classes apart: all


class Neurons(nn.Module):
    """The regressor of the teacher's neurons, what is known of them, and which are kept (1) or not (0), [d]."""

    kept: Tensor
    decided: Tensor

    def __init__(self, width: int, neurons: int, sizes: Sizes, first: float):
        super().__init__()
        self.net, self.clock, self.first = nn.Linear(width, neurons), Clock(sizes.steps), first
        self.seen = Statistics(neurons, sizes.classes)
        self.register_buffer("kept", torch.ones(neurons))
        self.register_buffer("decided", torch.tensor(False))

    def forward(self, embedding: Tensor, told: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.see(told, labels, 1.0 - (self.clock.progress(self.first) >= 1).float())
        return self.net(embedding).float(), self.kept
