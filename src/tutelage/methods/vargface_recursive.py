"""VarGFaceNet: An Efficient Variable Group Convolutional Neural Network for Lightweight Face Recognition. Yan, Zhao,
Xu, Zhang, Wang, Su. ICCVW 2019. https://arxiv.org/abs/1910.04985"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.angles import angular_rows, arcface_logits
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.pairs import Projection
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class VarGFaceRecursive(Method):
    """Point where the teacher points and keep classes apart by a margin, again and again from one's own last weights.

    One run is one generation: each begins where the one before ended (sec. 2.6), see `tutelage.train.generations`. The
    margin has class centres of its own, which end with the run; the classifier that stays learns plain labels beside.
    """

    weight: float = 1.0  # of the angle between embeddings; the paper's is not known
    arcface: float = 1.0  # weight of the margin softmax; 0 leaves it out
    scale: float = 64.0  # s of the margin softmax
    margin: float = 0.5  # m of the margin softmax, radians
    label: float = 1.0  # weight of the plain labels, which the paper has no use for
    unsupervised: float = 1.0  # what a pool image counts in the angle, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("weight", "arcface", "margin", "label", "unsupervised"), positive=("scale",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Sphere(student, teacher, sizes.classes)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student = nets.student(images)
        projected, centres = nets.extra(student.embedding)
        known = student.embedding[: len(labels)]
        apart = arcface_logits(known, centres, labels, scale=self.scale, margin=self.margin)
        return {
            "task": self.label * F.cross_entropy(student.logits[: len(labels)], labels),
            "margin": self.arcface * F.cross_entropy(apart, labels),
            "angle": self.weight * weighted_mean(angular_rows(projected, nets.teacher(images).embedding), trust),
        }


class Sphere(nn.Module):
    """The student's embedding at the teacher's width, and a centre of each class in the student's own space."""

    def __init__(self, student: Network, teacher: Network, classes: int):
        super().__init__()
        self.projection = Projection(student, teacher)
        self.centres = nn.Parameter(torch.randn(classes, student.embedding_width))

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        return self.projection(embedding), self.centres.float()
