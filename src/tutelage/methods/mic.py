"""MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation. Hoyer, Dai, Wang, Van Gool. CVPR 2023.
https://arxiv.org/abs/2212.01322"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.data.patches import masked
from tutelage.losses.ramps import cosine_ramp
from tutelage.losses.targets import masked_mean, trusted_cross_entropy, two_view_cross_entropy
from tutelage.methods.method import Clock, Method, check
from tutelage.models.average import follow
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class MIC(Method):
    """Say of an image of which most is hidden what a moving average of yourself says of the whole.

    Labelled images are the source, the pool the target. The authors add it to another method of adaptation (for
    classification an adversarial one); here it stands alone, and the view that is masked is the strong one. Of their
    classification: each image counts as much as the teacher is sure of it (eq. 7).
    """

    teacher = "copy"
    weight: float = 1.0  # lambda_M, after the ramp
    block: float = 0.25  # side of a hidden square, share of the image's: theirs is 64 of 224 pixels
    ratio: float = 0.7  # r, chance that a square is hidden
    decay: float = 0.999  # alpha, at most; theirs for classification is 0.9
    confidence: float = 0.0  # tau, 0.968 for segmentation: images whose top probability is below it do not count
    ramp: float = 0.0  # share of the run over which the weight grows from 0; the paper has none
    strong: float = 0.5  # share of the strong view in the labelled term
    pseudo: float = 0.0  # weight of the pseudo-labels that were written before the run; the paper has none
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, shares=("ratio", "decay", "confidence", "ramp", "strong", "block"))
        check(self, weights=("weight", "pseudo", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Clock(sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        clock, (weak, strong, labels), pool = nets.extra, batch.labeled, batch.unlabeled
        assert isinstance(clock, Clock)
        hidden = masked(pool.strong, block=max(1, round(self.block * pool.strong.shape[-1])), ratio=self.ratio)
        top, guess = nets.teacher(torch.cat([weak, pool.weak])).logits[len(weak) :].softmax(-1).max(-1)
        logits = nets.student(torch.cat([strong, weak, hidden])).logits  # batch norm over all three
        on_strong, on_weak, noisy = logits.split([len(labels), len(labels), len(hidden)])
        apart = F.cross_entropy(noisy, guess, reduction="none") * top
        scale = self.unsupervised * self.weight * cosine_ramp(clock.progress(self.ramp))
        return {
            "task": two_view_cross_entropy(on_weak, on_strong, labels, share=self.strong),
            "masked": scale * masked_mean(apart, top >= self.confidence),
            "pseudo": self.unsupervised * self.pseudo * trusted_cross_entropy(noisy, pool.target, pool.weight),
        }

    def after_step(self, nets: Nets, step: int) -> None:
        super().after_step(nets, step)
        follow(nets.teacher, nets.student, step, most=self.decay)
