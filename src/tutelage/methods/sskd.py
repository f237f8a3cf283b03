"""Knowledge Distillation Meets Self-Supervision. Xu, Liu, Li, Loy. ECCV 2020. https://arxiv.org/abs/2006.07114"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.distillation import kl_rows
from tutelage.losses.selfsupervision import among_trusted, cosines, error_rank, matching_loss, own_image, selected
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, TwoStages, check, transfer_set
from tutelage.models.heads import Pretext
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class SSKD(Method):
    """Also learn what the teacher says of turned images, and which upright ones it finds them like.

    One forward takes all four turns of an image, so a step costs four. In the first stage a head on the frozen teacher
    learns to find the upright image of a turned one; the student learns all but similarities meanwhile. The true class
    of a pool image is what the teacher says of it upright.
    """

    first: float = 0.2  # share of the run that trains the teacher's head; the authors train it before, 60 of 300 epochs
    label: float = 0.1  # weight of the labels
    soft: float = 0.9  # of the soft labels of upright images
    turned: float = 2.7  # of those of turned images
    similar: float = 10.0  # of the similarities of turned images to upright ones
    temperature: float = 4.0  # T of soft labels
    similar_temperature: float = 0.5  # T of similarities
    turned_ratio: float = 1.0  # share of turned images that is kept of those that the teacher gets wrong
    similar_ratio: float = 0.75  # share that is kept of those whose upright image it misses
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1, also as an image to be similar to

    def __post_init__(self) -> None:
        weights = ("label", "soft", "turned", "similar", "unsupervised")
        shares = ("first", "turned_ratio", "similar_ratio")
        check(self, shares=shares, weights=weights, positive=("first", "temperature", "similar_temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return TwoStages(Pretext(student, teacher), sizes.steps, self.first)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        upright, trust = transfer_set(batch, self.unsupervised)
        images = torch.cat([torch.rot90(upright, turn, (2, 3)) for turn in range(4)])
        student, teacher = nets.student(images), nets.teacher(images)
        heads, second = nets.extra(student.embedding, teacher.embedding)
        ours, learning, theirs = (cosines(x[len(trust) :], x[: len(trust)]) for x in heads)
        apart = kl_rows(student.logits, teacher.logits, temperature=self.temperature)
        truth = torch.cat([labels, teacher.logits[len(labels) : len(trust)].argmax(-1)]).repeat(3)
        rank = error_rank(teacher.logits[len(trust) :], truth)
        kept = selected(rank, ratio=self.turned_ratio, trust=trust.repeat(3))
        return {
            "task": self.label * F.cross_entropy(student.logits[: len(labels)], labels),
            "distillation": self.soft * weighted_mean(apart[: len(trust)], trust),
            "turned": self.turned * weighted_mean(apart[len(trust) :], kept * trust.repeat(3)),
            "similarity": second * self.similar * self._similarity(ours, theirs, trust),
            "pretext": (1 - second) * matching_loss(learning, trust=trust),
        }

    def _similarity(
        self, student: Float[Tensor, "m n"], teacher: Float[Tensor, "m n"], trust: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        rank = error_rank(teacher.masked_fill(trust == 0, -torch.inf), own_image(teacher))
        kept = selected(rank, ratio=self.similar_ratio, trust=trust.repeat(3))
        rows = [among_trusted(x / self.similar_temperature, trust) for x in (student, teacher)]
        return weighted_mean(self.similar_temperature**2 * kl_rows(*rows), kept * trust.repeat(3))
