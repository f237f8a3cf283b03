"""Knowledge Adaptation: Teaching to Adapt. Ruder, Ghaffari, Breslin. 2017. https://arxiv.org/abs/1702.02052"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.clusters import cluster_difference, cluster_means
from tutelage.losses.targets import masked_mean, mean_or_zero, soft_cross_entropy
from tutelage.methods.method import Method, check
from tutelage.models.committee import each_said
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class RuderAdapt(Method):
    """Learn of the target what teachers of several sources say, each as much as its source is like the target, and of
    those images that lie clearly in one cluster the class itself.

    Several teachers come as a committee (`python -m tasks committee`). From memory of the paper, unchecked.
    """

    sources: tuple[float, ...] = ()  # a_i, one a teacher: tutelage.metrics.domains.source_weights; none: alike
    soft: float = 0.5  # lambda, share of the soft labels in what the pool teaches
    temperature: float = 5.0  # T of teachers and student, in the soft labels; no T^2 before their term, unlike kd
    top: float = 0.3  # share of a batch, of largest maximum cluster difference, whose class is believed
    decay: float = 0.99  # of the clusters' means; the paper takes them over all images
    labelled: float = 1.0  # of cross entropy on the source; the paper's student never sees it: 0
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, shares=("soft", "top", "decay"), weights=("labelled", "unsupervised"), positive=("temperature",))
        if any(not 0 <= weight < math.inf for weight in self.sources) or (self.sources and not sum(self.sources) > 0):
            raise BadInput(f"sources is {self.sources}: weights are 0 or more, not all 0. Leave it out for equal ones")

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Clusters(sizes.classes, teacher.embedding_width)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        clusters, (weak, strong, labels), pool = nets.extra, batch.labeled, batch.unlabeled
        assert isinstance(clusters, Clusters)
        logits = nets.student(torch.cat([strong, pool.strong])).logits
        known, said = logits.split([len(labels), len(pool.strong)])
        outputs = nets.teacher(torch.cat([weak, pool.weak]))
        teachers, hidden = each_said(outputs)[:, len(weak) :], outputs.embedding[len(weak) :]
        told, guess = self.mixed(teachers / self.temperature), self.mixed(teachers).argmax(-1)
        clear = clusters.see(hidden, guess, self.decay).argsort(descending=True).argsort() < self.top * len(guess)
        soft = mean_or_zero(soft_cross_entropy(said / self.temperature, told))
        hard = masked_mean(F.cross_entropy(said, guess, reduction="none"), clear)
        return {
            "task": self.labelled * F.cross_entropy(known, labels),
            "distillation": self.unsupervised * self.soft * soft,
            "pseudo": self.unsupervised * (1 - self.soft) * hard,
        }

    def mixed(self, teachers: Float[Tensor, "m n c"]) -> Float[Tensor, "n c"]:
        """sum_i a_i p_i, the weights made to sum to one. Raises BadInput for another number of teachers."""
        weights = self.sources or (1.0,) * len(teachers)
        if len(weights) != len(teachers):
            raise BadInput(f"sources has {len(weights)} weights for {len(teachers)} teachers. Write one a teacher")
        parts = [weight / sum(weights) * told.softmax(-1) for weight, told in zip(weights, teachers, strict=True)]
        return torch.stack(parts).sum(0)


class Clusters(nn.Module):
    """Mean embedding of the images that the teachers take for each class [c, d]."""

    means: Tensor

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, width))

    def see(self, hidden: Tensor, guess: Tensor, decay: float) -> Float[Tensor, " n"]:
        """Take a batch in; how clearly each of its images lies in one cluster."""
        self.means.copy_(cluster_means(hidden, guess, self.means, decay=decay))
        return cluster_difference(hidden, self.means)
