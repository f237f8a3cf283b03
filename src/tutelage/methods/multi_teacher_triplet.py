"""Learning from Multiple Teacher Networks. You, Xu, Xu, Tao. KDD 2017. https://doi.org/10.1145/3097983.3098135"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.losses.ensembles import mean_answer, voted_triplets
from tutelage.losses.targets import soft_cross_entropy, weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.committee import each, each_said
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class MultiTeacherTriplet(Method):
    """Learn what several teachers say on average, and of two images the one that most of them find more like a third.

    From memory of the paper, unchecked. There a vote also chooses the layers that are compared; here each teacher
    judges by its embedding, and so does the student. Teachers come as a committee (`python -m tasks committee`).
    """

    soft: float = 1.0  # l1, of the cross entropy to the mean soft label; the paper's is not known
    triplet: float = 1.0  # l2, of the triplets; the paper's is not known
    temperature: float = 5.0  # T of teachers and student in the soft labels
    margin: float = 0.1  # delta, of squared distances
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1; a triplet counts its images' product

    def __post_init__(self) -> None:
        check(self, weights=("soft", "triplet", "margin", "unsupervised"), positive=("temperature",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teachers = nets.student(images), nets.teacher(images)
        wanted = (mean_answer(each_said(teachers), temperature=self.temperature) / self.temperature).softmax(-1)
        soft = soft_cross_entropy(student.logits / self.temperature, wanted)
        triplets = voted_triplets(
            student.embedding, [one.embedding for one in each(teachers)], margin=self.margin, trust=trust
        )
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "distillation": self.soft * weighted_mean(soft, trust),
            "triplet": self.triplet * triplets,
        }
