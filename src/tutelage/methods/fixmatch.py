"""FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence. Sohn et al. NeurIPS 2020.
https://arxiv.org/abs/2001.07685"""

from dataclasses import dataclass

from torch import nn

from tutelage.losses.cutmix import two_views
from tutelage.losses.ramps import cosine_ramp
from tutelage.losses.targets import certain
from tutelage.methods.method import Clock, Method, check, guessed
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
        clock, labels, pool = nets.extra, batch.labeled.labels, batch.unlabeled
        assert isinstance(clock, Clock)
        guess, weak, strong, noisy, mine, seen = guessed(nets.student, batch, cutmix=self.cutmix)
        top, label = guess.max(-1)
        sure = certain(label, top >= self.confidence, guess.shape[-1])
        scale = self.unsupervised * self.weight * cosine_ramp(clock.progress(self.ramp))
        return {
            "task": two_views(weak, strong, labels, mine, share=self.strong),
            "consistency": scale * seen.loss(noisy, sure),
            "pseudo": self.unsupervised * self.pseudo * seen.loss(noisy, pool.target * pool.weight[:, None]),
        }
