"""AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain Adaptation. Berthelot, Roelofs, Sohn, Carlini,
Kurakin. ICLR 2022. https://arxiv.org/abs/2106.04732"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.losses.cutmix import two_views
from tutelage.losses.ramps import cosine_ramp
from tutelage.losses.targets import aligned, certain, sharpened
from tutelage.methods.method import Clock, Method, check, guessed
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class AdaMatch(Method):
    """FixMatch that guesses classes as often as labels have them, and is as sure as it is of labelled images."""

    teacher = "self"
    weight: float = 1.0  # mu, after the ramp
    confidence: float = 0.9  # tau, relative to the mean top probability on labelled weak views
    strong: float = 0.5  # share of the strong view in the labelled term; logits are not interpolated as the authors do
    ramp: float = 0.5  # share of the run over which mu grows from 0
    decay: float = 0.99  # of the class frequencies; the authors' for the pool is a plain mean over 128 batches
    cutmix: float = 0.0  # share of strong views that have a part of another: losses/cutmix.py; the paper has none
    pseudo: float = 0.5  # weight of the pseudo-labels that were written before the run; the paper has none
    sharpen: float = 1.0  # their temperature; 1 leaves them as calibrated
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        weights = ("weight", "pseudo", "unsupervised")
        check(self, shares=("confidence", "strong", "ramp", "decay", "cutmix"), weights=weights, positive=("sharpen",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Memory(sizes)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        memory, labels, pool = nets.extra, batch.labeled.labels, batch.unlabeled
        assert isinstance(memory, Memory)
        guess, weak, strong, noisy, mine, seen = guessed(nets.student, batch, cutmix=self.cutmix)
        sure_of = weak.detach().softmax(-1)
        memory.see(sure_of, guess, self.decay)
        top, label = aligned(guess, memory.labeled, memory.unlabeled).max(-1)
        sure = certain(label, top >= self.confidence * sure_of.amax(-1).mean(), guess.shape[-1])
        written = sharpened(pool.target, self.sharpen) * pool.weight[:, None]
        scale = self.unsupervised * self.weight * cosine_ramp(memory.clock.progress(self.ramp))
        return {
            "task": two_views(weak, strong, labels, mine, share=self.strong),
            "consistency": scale * seen.loss(noisy, sure),
            "pseudo": self.unsupervised * self.pseudo * seen.loss(noisy, written),
        }


class Memory(nn.Module):
    """How often each class is predicted on labelled images and on the pool [c], and how far the run is."""

    labeled: Tensor
    unlabeled: Tensor

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.clock = Clock(sizes.steps)
        for name in ("labeled", "unlabeled"):
            self.register_buffer(name, torch.full((sizes.classes,), 1 / sizes.classes))

    def see(self, labeled: Tensor, unlabeled: Tensor, decay: float) -> None:
        """Take a batch's predictions [b, c] and [u, c] into the averages; an empty pool, or nan, changes nothing."""
        for average, seen in ((self.labeled, labeled), (self.unlabeled, unlabeled)):
            mean = seen.mean(0)
            average.lerp_(torch.where(mean.isfinite().all(), mean, average), 1 - decay)
