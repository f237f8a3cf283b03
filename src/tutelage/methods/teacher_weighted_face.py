"""Discover the Effective Strategy for Face Recognition Model Compression by Improved Knowledge Distillation. Wang, Liu,
Abe, Uchida, Matsunami, Yamada. ICIP 2018. https://doi.org/10.1109/ICIP.2018.8451808"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.losses.distillation import kl_rows
from tutelage.losses.maps import squared_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.pairs import Projection
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class TeacherWeightedFace(Method):
    """Listen to the teacher only as far as it is right about the image: its soft label and its embedding.

    A reconstruction: the paper weights its teacher so that wrong guidance does not mislead, but its formula and weights
    were not at hand. Pool images have no label to be right about; there the teacher's top probability is its weight.
    """

    wrong: Literal["silent", "doubted"] = "silent"  # a wrong teacher counts 0, or still its probability of the label
    soft: float = 1.0  # a, weight of the soft labels
    hint: float = 1.0  # b, weight of the embedding's squared distance, a sum over its elements
    temperature: float = 4.0  # T of teacher and student
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("soft", "hint", "unsupervised"), positive=("temperature",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Projection(student, teacher)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        right = self._right(teacher.logits, labels)
        soft = right * kl_rows(student.logits, teacher.logits, temperature=self.temperature)
        hint = right * squared_rows(nets.extra(student.embedding), teacher.embedding)
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "distillation": self.soft * weighted_mean(soft, trust),
            "hint": self.hint * weighted_mean(hint, trust),
        }

    def _right(self, logits: Float[Tensor, "n c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " n"]:
        told = logits.softmax(-1)
        top, first = told.max(-1)
        given = told[: len(labels)].gather(1, labels[:, None])[:, 0]
        if self.wrong == "silent":
            given = given * (first[: len(labels)] == labels)
        return torch.cat([given, top[len(labels) :]])
