"""Similarity-Preserving Knowledge Distillation. Tung, Mori. ICCV 2019. https://arxiv.org/abs/1907.09682"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.relations import similarity_preserving
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.pairs import stage_pairs
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class SP(Method):
    """Images that look alike to the teacher shall look alike to the student, at every stage (sec. 3)."""

    weight: float = 3000.0  # gamma, of the sum over the stages
    layers: tuple[str, ...] = ()  # pairs such as "stage2:stage3"; none: found. RepDistiller takes the last pair only
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1; a pair counts their product

    def __post_init__(self) -> None:
        check(self, weights=("weight", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Stages(stage_pairs(student, teacher, self.layers))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        maps = nets.extra(student.features, teacher.features)
        apart = [similarity_preserving(*pair, trust=trust) for pair in maps]
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "similarity": self.weight * torch.stack(apart).sum(),
        }


class Stages(nn.Module):
    """Knows which stages belong together. A wrapped student no longer says what stages it has."""

    def __init__(self, pairs: list[tuple[str, str]]):
        super().__init__()
        self.pairs = pairs

    def forward(self, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Maps [n, c, h, w] of both networks, pair by pair."""
        return [(student[ours], teacher[theirs]) for ours, theirs in self.pairs]
