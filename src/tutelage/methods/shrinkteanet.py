"""ShrinkTeaNet: Million-scale Lightweight Face Recognition via Shrinking Teacher-Student Networks. Duong, Luu, Quach,
Le. 2019. https://arxiv.org/abs/1905.10620"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.angles import angular_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.pairs import Adapters, Projection, stage_pairs
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class ShrinkTeaNet(Method):
    """Point where the teacher points: directions of embeddings are learned, at the end and on the way, not lengths.

    On the way the paper reads maps through frozen heads of the teacher. Networks of timm have none: the mean over
    positions takes their place.
    """

    label: float = 1.0  # weight of the labels; 0 for classes that are not known, as the paper allows
    weight: float = 1.0  # lambda of the last embedding
    stages: float = 1.0  # lambda of each pair of stages
    layers: tuple[str, ...] = ()  # pairs such as "stage2:stage3"; none: found
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("label", "weight", "stages", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Heads(student, teacher, self.layers)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        projected, maps = nets.extra(student.embedding, student.features, teacher.features)
        between = torch.stack([angular_rows(ours.mean((2, 3)), theirs.mean((2, 3))) for ours, theirs in maps]).sum(0)
        return {
            "task": self.label * F.cross_entropy(student.logits[: len(labels)], labels),
            "angle": self.weight * weighted_mean(angular_rows(projected, teacher.embedding), trust),
            "stages": self.stages * weighted_mean(between, trust),
        }


class Heads(nn.Module):
    """What makes embeddings and maps of the student as wide as the teacher's."""

    def __init__(self, student: Network, teacher: Network, layers: tuple[str, ...]):
        super().__init__()
        self.last = Projection(student, teacher)
        self.between = Adapters(student, teacher, stage_pairs(student, teacher, layers), adapt="unequal")

    def forward(
        self, embedding: Tensor, ours: dict[str, Tensor], theirs: dict[str, Tensor]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The student's embedding [n, d], and both networks' maps by pairs of stages."""
        return self.last(embedding), self.between(ours, theirs)
