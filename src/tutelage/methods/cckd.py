"""Correlation Congruence for Knowledge Distillation. Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang. ICCV 2019.
https://arxiv.org/abs/1904.01802"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.distillation import kl_rows
from tutelage.losses.relations import correlation_congruence, neighbour_products
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.pairs import Projection
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class CCKD(Method):
    """Beside the soft labels, keep how alike any two images are, by a kernel of their embeddings (sec. 3).

    The paper adds an embedding layer to both networks and trains the teacher with its own. A given teacher's embedding
    is that layer here, and the student's is brought to its width.
    """

    form: Literal["gaussian", "bilinear", "neighbours"] = "gaussian"  # the last as in RepDistiller, not the paper
    weight: float = 0.003  # beta; RepDistiller's for "neighbours" is 0.02
    gamma: float = 0.4  # of the Gaussian kernel
    order: int = 2  # P of its Taylor sum
    alpha: float = 0.1  # share of the labels; 1 - alpha is the soft labels. Not stated by what we read: as in kd
    temperature: float = 4.0  # T of the soft labels
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1; a pair counts their product

    def __post_init__(self) -> None:
        weights = ("weight", "unsupervised")
        check(self, shares=("alpha",), weights=weights, positive=("gamma", "order", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Projection(student, teacher)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher, labels = nets.student(images), nets.teacher(images), batch.labeled.labels
        soft = kl_rows(student.logits, teacher.logits, temperature=self.temperature)
        return {
            "task": self.alpha * F.cross_entropy(student.logits[: len(labels)], labels),
            "distillation": (1 - self.alpha) * weighted_mean(soft, trust),
            "congruence": self.weight * self._apart(nets.extra(student.embedding), teacher.embedding, trust),
        }

    def _apart(
        self, student: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"], trust: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        if self.form == "neighbours":
            return neighbour_products(student, teacher, trust=trust)
        order = self.order if self.form == "gaussian" else None
        return correlation_congruence(student, teacher, gamma=self.gamma, order=order, trust=trust)
