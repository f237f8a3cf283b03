"""Self-training with Noisy Student improves ImageNet classification. Xie, Luong, Hovy, Le. CVPR 2020.
https://arxiv.org/abs/1911.04252"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.targets import trusted_cross_entropy
from tutelage.methods.method import Method, answers, check
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class NoisyStudent(Method):
    """The teacher labels clean images; the student learns the same labels under noise (alg. 1).

    One run is one generation. By default the labels are those that were written before the run, filtered and weighted
    there: `target` and `weight` of the batch. The teacher, though it must be given, then stays out of the step, as in
    the paper. With `online` it answers the weak view in each step.
    The paper also balances the pool: of each class the surest up to a number, which `pseudo_label.quota` does here,
    and images of rare classes repeated, which nothing does.
    """

    weight: float = 1.0  # of the pool's mean loss; the authors: 1 (B0) or 3 (B1 to B7), their batch ratio
    label_smoothing: float = 0.1  # of given labels and of hard pseudo-labels
    hard: bool = False  # learn the teacher's first choice, not its distribution
    online: bool = False  # ask the teacher in each step, and read no pseudo-labels; else it is never asked
    confidence: float = 0.3  # online only: an image whose top probability is below it is dropped
    temperature: float = 1.0  # online only: T of the teacher's softmax
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, shares=("label_smoothing", "confidence"), positive=("temperature",))
        check(self, weights=("weight", "unsupervised"))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels, pool = batch.labeled.labels, batch.unlabeled
        # One forward: batch norm sees labelled and pool images together, as with the authors.
        logits = nets.student(torch.cat([batch.labeled.strong, pool.strong])).logits
        known, noisy = logits.split([len(labels), len(pool.strong)])
        target, weight = self._ask(nets, batch) if self.online else (pool.target, pool.weight)
        if self.hard:
            smooth, classes = self.label_smoothing, target.shape[1]
            target = F.one_hot(target.argmax(-1), classes) * (1 - smooth) + smooth / classes
        # Mean over all pool images of the batch: one that was dropped is not replaced, as it is in the paper.
        pseudo = trusted_cross_entropy(noisy, target, weight)
        return {
            "task": F.cross_entropy(known, labels, label_smoothing=self.label_smoothing),
            "pseudo": self.unsupervised * self.weight * pseudo,
        }

    def _ask(self, nets: Nets, batch: Batch) -> tuple[Float[Tensor, "u c"], Float[Tensor, " u"]]:
        logits = answers(nets.teacher, batch.unlabeled.weak, instead=batch.labeled.weak)
        sure = logits.softmax(-1).amax(-1) >= self.confidence  # of the plain softmax: T shapes the target only
        return (logits / self.temperature).softmax(-1), sure.to(logits.dtype)
