"""SoftMatch: Addressing the Quantity-Quality Trade-off in Semi-supervised Learning. Chen et al. ICLR 2023.
https://arxiv.org/abs/2301.10921"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.losses.cutmix import two_views
from tutelage.losses.ramps import cosine_ramp
from tutelage.losses.targets import aligned, certain, truncated_gaussian
from tutelage.methods.method import Clock, Method, check, guessed
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class SoftMatch(Method):
    """FixMatch without a threshold: a guess weighs the less, the further it is below how sure you are on average."""

    teacher = "self"
    weight: float = 1.0  # lambda_max, after the ramp
    spread: float = 0.5  # standard deviations, sigma of eq. 8 in those of the pool; the authors' code, the paper's is 1
    decay: float = 0.999  # m, of average, variance and class frequencies
    strong: float = 0.5  # share of the strong view in the labelled term; the paper's is 0
    ramp: float = 0.0  # share of the run over which the weight grows from 0; the paper has none
    cutmix: float = 0.0  # share of strong views that have a part of another: losses/cutmix.py; the paper has none
    pseudo: float = 0.0  # weight of the pseudo-labels that were written before the run; the paper has none
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        shares, weights = ("decay", "strong", "ramp", "cutmix"), ("weight", "pseudo", "unsupervised")
        check(self, shares=shares, weights=weights, positive=("spread",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Memory(sizes)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        memory, labels, pool = nets.extra, batch.labeled.labels, batch.unlabeled
        assert isinstance(memory, Memory)
        guess, weak, strong, noisy, mine, seen = guessed(nets.student, batch, cutmix=self.cutmix)
        trust = memory.trust(guess, self.decay, self.spread)
        weighed = certain(guess.argmax(-1), trust > 0, guess.shape[-1]) * trust[:, None]
        scale = self.unsupervised * self.weight * cosine_ramp(memory.clock.progress(self.ramp))
        return {
            "task": two_views(weak, strong, labels, mine, share=self.strong),
            "consistency": scale * seen.loss(noisy, weighed),
            "pseudo": self.unsupervised * self.pseudo * seen.loss(noisy, pool.target * pool.weight[:, None]),
        }


class Memory(nn.Module):
    """How sure guesses on the pool are, as mean and variance, and how often each class is guessed [c]."""

    state: Tensor  # mean, variance; the authors' start: as sure as chance, and so wide that every guess counts
    classes: Tensor

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.clock = Clock(sizes.steps)
        self.register_buffer("state", torch.tensor([1 / sizes.classes, 1.0]))
        self.register_buffer("classes", torch.full((sizes.classes,), 1 / sizes.classes))

    def trust(self, guess: Tensor, decay: float, spread: float) -> Tensor:
        """Weights [u] of guesses [u, c], which enter the averages first, seen as if classes were equally frequent
        (sec. 3.3). One guess, which has no variance, and spoilt ones leave the averages alone."""
        known, several = guess.isfinite().all(), len(guess) > 1
        if several:
            self.classes.lerp_(torch.where(known, guess.mean(0), self.classes), 1 - decay)
        top = aligned(guess, torch.full_like(self.classes, 1 / len(self.classes)), self.classes).amax(-1)
        if several:
            self.state.lerp_(torch.where(known, torch.stack([top.mean(), top.var()]), self.state), 1 - decay)
        return truncated_gaussian(top, *self.state, spread=spread)
