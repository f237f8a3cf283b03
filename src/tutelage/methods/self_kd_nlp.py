"""Self-Knowledge Distillation in Natural Language Processing. Hahn, Choi. RANLP 2019.
https://arxiv.org/abs/1908.01851"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.distillation import alike_classes
from tutelage.losses.targets import mean_or_zero, soft_cross_entropy
from tutelage.methods.method import Clock, Method, check
from tutelage.models.tails import classifier
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class SelfKDNLP(Method):
    """After a while, let a part of each label go to the classes that your own classifier has come to embed near it.

    In the paper classes are words, and the embedding is that of the output layer: here its rows. The exact formula and
    its numbers could not be checked.
    """

    teacher = "self"
    pool = False
    alpha: float = 0.1  # a, share of the label that goes to near classes, itself among them; below 0.5 it stays the top
    closest: int = 5  # classes that get a part of it
    scale: float = 1.0  # of the distance between rows of the classifier
    warmup: float = 0.5  # share of the run in which labels stay as they are

    def __post_init__(self) -> None:
        check(self, shares=("alpha", "warmup"), positive=("closest", "scale"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Rows(student, sizes)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels, rows = batch.labeled.labels, nets.extra
        assert isinstance(rows, Rows)
        logits = nets.student(batch.labeled.strong).logits
        near = alike_classes(labels, rows.rows, closest=self.closest, scale=self.scale)
        share = self.alpha * (rows.clock.progress(1.0) >= self.warmup)
        return {
            "task": (1 - share) * F.cross_entropy(logits, labels),
            "alike": share * mean_or_zero(soft_cross_entropy(logits, near)),
        }

    def after_step(self, nets: Nets, step: int) -> None:
        super().after_step(nets, step)
        assert isinstance(nets.extra, Rows)
        nets.extra.see(nets.student)


class Rows(nn.Module):
    """The rows of the student's classifier [c, d] after the last step, and how far the run is."""

    rows: Tensor

    def __init__(self, student: Network, sizes: Sizes):
        super().__init__()
        self.clock = Clock(sizes.steps)
        self.register_buffer("rows", classifier(student, sizes.classes).weight.detach().clone())

    @torch.no_grad()
    def see(self, student: Network) -> None:
        self.rows.copy_(classifier(student, len(self.rows)).weight)
