"""Paraphrasing Complex Network: Network Compression via Factor Transfer. Kim, Park, Kwak. NeurIPS 2018.
https://arxiv.org/abs/1802.04977"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from tutelage.losses.maps import absolute_rows, factor_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, TwoStages, check, transfer_set
from tutelage.models.factors import Factors
from tutelage.models.pairs import stage_pairs
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class FactorTransfer(Method):
    """Let the teacher say it in fewer words, which a paraphraser learns first; then learn labels and these words.

    In the first stage an autoencoder learns the teacher's last map; the loss leaves the student alone.
    """

    first: float = 0.2  # share of the run that trains the paraphraser, which then is frozen
    rate: float = 0.5  # k: channels of the factor for each of the teacher's
    weight: float = 500.0  # beta of the factor, in the authors' code
    layers: tuple[str, ...] = ()  # one pair such as "stage2:stage3"; none: the last ones, as in the paper
    unsupervised: float = 1.0  # what a pool image counts for paraphraser and factor, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("first",), weights=("weight", "unsupervised"), positive=("first", "rate"))
        if len(self.layers) > 1:
            raise BadInput(
                f"layers of FactorTransfer has {len(self.layers)} pairs, and it learns one. Write the one pair"
            )

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        ours, theirs = stage_pairs(student, teacher, self.layers)[-1]
        words = max(1, round(self.rate * teacher.widths[theirs]))
        factors = Factors((ours, student.widths[ours]), (theirs, teacher.widths[theirs]), words)
        return TwoStages(factors, sizes.steps, self.first)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        (told, repeated, translated, factor), second = nets.extra(student.features, teacher.features)
        return {
            "task": second * F.cross_entropy(student.logits[: len(labels)], labels),
            "paraphrase": (1 - second) * weighted_mean(absolute_rows(repeated, told), trust),
            "factor": second * self.weight * weighted_mean(factor_rows(translated, factor), trust),
        }
