"""Ranking Distillation: Learning Compact Ranking Models With High Performance for Recommender System. Tang, Wang.
KDD 2018. https://arxiv.org/abs/1809.07428"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tutelage.losses.ranking import discrepancy_weights, pair_log_loss, position_weights
from tutelage.losses.relations import gram
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, Paced, check, transfer_set
from tutelage.models.heads import Scorer
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class RankingDistillation(Method):
    """What the teacher ranks first for a query and nobody has judged is one more positive, the first the most.

    The paper recommends items; here images are retrieved within a batch. A query's positives are labelled images of its
    class, and the teacher adds its nearest others. Cross entropy is beside, since students are judged as classifiers.
    """

    ranking: float = 1.0  # weight of the log loss on labelled pairs
    negatives: float = 3.0  # what negative pairs count in it, positive ones being 1: the authors draw 3 for each
    weight: float = 1.0  # alpha, of the teacher's list
    length: int = 10  # K, images in the list; fewer in a small batch
    sharpness: float = 1.0  # lambda: the smaller, the more the first of the list count
    mu: float = 0.1  # how fast a wrong rank of the student's gains weight
    warmup: float = 0.2  # share of the run before the student's ranks count; 10 epochs of the authors'
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1; a pair counts their product

    def __post_init__(self) -> None:
        weights = ("ranking", "negatives", "weight", "unsupervised")
        check(self, shares=("warmup",), weights=weights, positive=("length", "sharpness", "mu"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Paced(Scorer(), sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        scores, progress = nets.extra(student.embedding)
        heard = len(images) if self.unsupervised else len(labels)  # or silent images would take places in lists
        known = F.pad(labels[:, None] == labels, (0, heard - len(labels)) * 2)  # judged already
        open_pairs = ~known & ~torch.eye(heard, dtype=torch.bool, device=images.device)
        wanted = gram(F.normalize(teacher.embedding[:heard])).masked_fill(~open_pairs, -torch.inf)
        lists = self._lists(scores[:heard, :heard], wanted, trust[:heard], started=progress >= self.warmup)
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "ranking": self.ranking
            * pair_log_loss(scores[: len(labels), : len(labels)], labels, negatives=self.negatives),
            "distillation": self.weight * lists,
        }

    def _lists(
        self, scores: Float[Tensor, "n n"], wanted: Float[Tensor, "n n"], trust: Tensor, *, started: Bool[Tensor, ""]
    ) -> Float[Tensor, ""]:
        best = wanted.topk(min(self.length, len(wanted) - 1))
        ranks = discrepancy_weights(scores, best.indices, candidates=wanted.isfinite(), mu=self.mu)
        weight = position_weights(best.indices, self.sharpness) * torch.where(started, ranks, 1.0)
        weight = weight * trust[best.indices] * best.values.isfinite()  # lists of queries with many positives are short
        return weighted_mean((weight * F.softplus(-scores.gather(1, best.indices))).sum(-1), trust)
