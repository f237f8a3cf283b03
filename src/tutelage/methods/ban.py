"""Born-Again Neural Networks. Furlanello, Lipton, Tschannen, Itti, Anandkumar. ICML 2018.
https://arxiv.org/abs/1805.04770"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.distillation import permuted_dark_knowledge
from tutelage.losses.targets import mean_or_zero, soft_cross_entropy, weighted_mean
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class BAN(Method):
    """Be born again: learn from scratch what the previous generation, a network of the same shape, answers at T = 1.

    One run is one generation. The chain of generations, and their mean as a final ensemble, belong to the DAG.
    """

    pool = False
    variant: Literal["soft", "cwtm", "dkpp"] = "soft"  # ablations: labels weighted by its top; soft labels permuted
    label: float = 1.0  # weight of the given labels; the paper also drops them
    weight: float = 1.0  # of the teacher

    def __post_init__(self) -> None:
        check(self, weights=("label", "weight"))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, labels = batch.labeled.strong, batch.labeled.labels
        logits = nets.student(images).logits
        told = nets.teacher(images).logits.softmax(-1)
        return {
            "task": self.label * F.cross_entropy(logits, labels),
            "distillation": self.weight * self._distillation(logits, told, labels),
        }

    def _distillation(
        self, logits: Float[Tensor, "b c"], told: Float[Tensor, "b c"], labels: Tensor
    ) -> Float[Tensor, ""]:
        if self.variant == "cwtm":
            return weighted_mean(F.cross_entropy(logits, labels, reduction="none"), told.amax(-1))
        target = permuted_dark_knowledge(told) if self.variant == "dkpp" else told
        return mean_or_zero(soft_cross_entropy(logits, target))
