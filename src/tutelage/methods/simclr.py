"""A Simple Framework for Contrastive Learning of Visual Representations. Chen, Kornblith, Norouzi, Hinton. ICML 2020.
https://arxiv.org/abs/2002.05709"""

from dataclasses import dataclass

import torch
from torch import nn

from tutelage.losses.contrast import nt_xent
from tutelage.losses.targets import two_view_cross_entropy
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class SimCLR(Method):
    """Two views of a pool image know each other among all others of the batch; labels are learned beside (eq. 1).

    The paper learns from the pool first and from labels afterwards. Here both are one run, so that a first teacher
    that has seen the pool costs one stage: `teacher.method`.
    """

    teacher = "self"
    label: float = 1.0  # weight of the labels
    strong: float = 0.5  # share of the strong view in the labelled term
    weight: float = 1.0  # of the contrast
    temperature: float = 0.2  # tau; the paper's is 0.1 to 0.5
    width: int = 128  # of the projections that are compared
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        weights = ("label", "weight", "unsupervised")
        check(self, shares=("strong",), weights=weights, positive=("temperature", "width"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        width = student.embedding_width
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.width))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        (weak, strong, labels), pool = batch.labeled, batch.unlabeled
        seen = nets.student(torch.cat([strong, weak, pool.weak, pool.strong]))
        on_strong, on_weak = seen.logits[: 2 * len(labels)].chunk(2)
        one, other = nets.extra(seen.embedding[2 * len(labels) :]).tensor_split(2)
        return {
            "task": self.label * two_view_cross_entropy(on_weak, on_strong, labels, share=self.strong),
            "contrast": self.unsupervised * self.weight * nt_xent(one, other, temperature=self.temperature),
        }
