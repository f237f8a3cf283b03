"""Relational Knowledge Distillation. Park, Kim, Lu, Cho. CVPR 2019. https://arxiv.org/abs/1904.05068"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.losses.relations import relational_angle, relational_distance
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class RKD(Method):
    """Learn how the images of a batch lie to each other, not what each one is: distances and angles of embeddings."""

    distance: float = 25.0  # lambda of the distances; 1 in metric learning, where embeddings are unit vectors
    angle: float = 50.0  # lambda of the angles; 2 in metric learning
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1; a pair counts their product

    def __post_init__(self) -> None:
        check(self, weights=("distance", "angle", "unsupervised"))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images).embedding
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "distance": self.distance * relational_distance(student.embedding, teacher, trust=trust),
            "angle": self.angle * relational_angle(student.embedding, teacher, trust=trust),
        }
