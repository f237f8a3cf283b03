"""Information Theoretic Representation Distillation. Miles, Lopez Rodriguez, Mikolajczyk. BMVC 2022.
https://arxiv.org/abs/2112.00459"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from tutelage.losses.information import correlation_entropy, missing_information
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class ITRD(Method):
    """Tell by each dimension of the embedding what the teacher's tells, and relate images as the teacher does.

    The first term is a logarithm: it falls below 0 where student and teacher agree.
    """

    correlation: float = 2.0  # lambda of the correlation
    information: float = 0.05  # lambda of the mutual information; the default of the authors' code, 1 in its example
    alpha: float = 1.5  # of the correlation's power, 2 alpha; 1.01 in that example
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("correlation", "information", "unsupervised"), positive=("alpha",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        # There also for equal widths: no dimension of the student is meant to be the same one of the teacher.
        return nn.Linear(student.embedding_width, teacher.embedding_width)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images).embedding
        embedding = nets.extra(student.embedding).float()
        correlation = correlation_entropy(embedding, teacher, alpha=self.alpha, trust=trust)
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "correlation": self.correlation * correlation,
            "information": self.information * missing_information(embedding, teacher, trust=trust),
        }
