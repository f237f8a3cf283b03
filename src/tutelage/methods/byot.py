"""Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via Self Distillation. Zhang, Song,
Gao, Chen, Bao, Ma. ICCV 2019. https://arxiv.org/abs/1905.08094"""

from dataclasses import dataclass

import torch
from torch import nn

from tutelage.losses.distillation import kl_rows
from tutelage.losses.maps import squared_rows
from tutelage.losses.peers import all_learn
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.exits import Exits
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class BYOT(Method):
    """Put a classifier behind each of your stages: the last one teaches the others, and so your first layers.

    The paper does not print its weights: they are a public reproduction's.
    """

    teacher = "self"
    alpha: float = 0.1  # share of the soft labels; 1 - alpha is cross entropy, of all exits and the last alike
    temperature: float = 3.0  # T of all
    hint: float = 1.28e-4  # lambda of the features' squared distance; there 1e-6 of a sum over batches of 128
    unsupervised: float = 1.0  # what a pool image counts in soft labels and features, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("alpha",), weights=("hint", "unsupervised"), positive=("temperature",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Exits(student, sizes.classes)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, trust = transfer_set(batch, self.unsupervised)
        last = nets.student(images)
        exits = nets.extra(last.features)
        soft = [kl_rows(said, last.logits, temperature=self.temperature) for said, _ in exits]
        apart = [squared_rows(seen, last.embedding) for _, seen in exits]
        said = torch.stack([*(said for said, _ in exits), last.logits])
        return {
            "task": (1 - self.alpha) * all_learn(said, batch.labeled.labels),
            "distillation": self.alpha * weighted_mean(torch.stack(soft).sum(0), trust),
            "hint": self.hint * weighted_mean(torch.stack(apart).sum(0), trust),
        }
