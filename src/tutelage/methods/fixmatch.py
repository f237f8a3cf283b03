"""FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence. Sohn et al. NeurIPS 2020.
https://arxiv.org/abs/2001.07685"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.ramps import cosine_ramp
from tutelage.losses.targets import masked_mean, trusted_cross_entropy, two_view_cross_entropy
from tutelage.methods.method import Clock, Method, answers, check
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class FixMatch(Method):
    """What you are sure of on the weak view of a pool image, say it of the strong view too (alg. 1)."""

    teacher = "self"
    weight: float = 1.0  # lambda_u
    confidence: float = 0.95  # tau
    strong: float = 0.5  # share of the strong view in the labelled term; the paper's is 0
    ramp: float = 0.0  # share of the run over which lambda_u grows from 0; the paper has none, AdaMatch 0.5
    pseudo: float = 0.0  # weight of the pseudo-labels that were written before the run; the paper has none
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, shares=("confidence", "strong", "ramp"), weights=("weight", "pseudo", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Clock(sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        clock, (weak, strong, labels), pool = nets.extra, batch.labeled, batch.unlabeled
        assert isinstance(clock, Clock)
        # The weak pool view is a target only, so it runs without a graph, apart from the rest (the paper: all in one
        # forward). Still in train mode: normalised by the statistics of its own batch, which enter the running ones.
        # First, so that no buffer moves between the forward that has a graph and its backward.
        with torch.no_grad():
            top, guess = answers(nets.student, pool.weak, instead=weak).softmax(-1).max(-1)
        logits = nets.student(torch.cat([strong, weak, pool.strong])).logits  # batch norm over all three
        on_strong, on_weak, noisy = logits.split([len(labels), len(labels), len(pool.strong)])
        agreed = masked_mean(F.cross_entropy(noisy, guess, reduction="none"), top >= self.confidence)
        scale = self.unsupervised * self.weight * cosine_ramp(clock.progress(self.ramp))
        return {
            "task": two_view_cross_entropy(on_weak, on_strong, labels, share=self.strong),
            "consistency": scale * agreed,
            "pseudo": self.unsupervised * self.pseudo * trusted_cross_entropy(noisy, pool.target, pool.weight),
        }

    def after_step(self, nets: Nets, step: int) -> None:
        assert isinstance(nets.extra, Clock)
        nets.extra.tick(step)
