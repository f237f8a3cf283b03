"""FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence. Sohn et al. NeurIPS 2020.
https://arxiv.org/abs/2001.07685"""

from dataclasses import dataclass

import torch
from torch import nn

from tutelage.losses.cutmix import pasted, two_views
from tutelage.losses.ramps import cosine_ramp
from tutelage.losses.targets import certain
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
    cutmix: float = 0.0  # share of strong views that have a part of another: losses/cutmix.py; the paper has none
    pseudo: float = 0.0  # weight of the pseudo-labels that were written before the run; the paper has none
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, shares=("confidence", "strong", "ramp", "cutmix"), weights=("weight", "pseudo", "unsupervised"))

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
        mine, seen = (pasted(images, chance=self.cutmix) for images in (strong, pool.strong))
        logits = nets.student(torch.cat([mine.images, weak, seen.images])).logits  # batch norm over all three
        on_strong, on_weak, noisy = logits.split([len(labels), len(labels), len(pool.strong)])
        sure = certain(guess, top >= self.confidence, logits.shape[-1])
        scale = self.unsupervised * self.weight * cosine_ramp(clock.progress(self.ramp))
        return {
            "task": two_views(on_weak, on_strong, labels, mine, share=self.strong),
            "consistency": scale * seen.loss(noisy, sure),
            "pseudo": self.unsupervised * self.pseudo * seen.loss(noisy, pool.target * pool.weight[:, None]),
        }

    def after_step(self, nets: Nets, step: int) -> None:
        assert isinstance(nets.extra, Clock)
        nets.extra.tick(step)
