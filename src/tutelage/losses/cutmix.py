"""CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features. Yun et al. ICCV 2019.
https://arxiv.org/abs/1905.04899

On what a network says of the pool in place of labels: French et al., BMVC 2020, https://arxiv.org/abs/1906.01916
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.losses.targets import mean_or_zero, soft_cross_entropy


class Pasted(NamedTuple):
    """Images into some of which a part of another of the batch is pasted."""

    images: Float[Tensor, "n 3 h w"]
    partner: Int[Tensor, " n"]  # place of the other
    own: Float[Tensor, " n"]  # share of an image's pixels that it keeps

    def loss(self, logits: Float[Tensor, "n c"], targets: Float[Tensor, "n c"]) -> Float[Tensor, ""]:
        """Cross entropy of both parts by their shares (eq. 1), mean over all `n`; `targets` are of whole images.

        Rows may weigh less than one, or nothing.
        """
        own = self.own[:, None]
        return mean_or_zero(soft_cross_entropy(logits, own * targets + (1 - own) * targets[self.partner]))


def two_views(
    weak: Float[Tensor, "n c"], strong: Float[Tensor, "n c"], labels: Int[Tensor, " n"], seen: Pasted, *, share: float,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:  # fmt: skip
    """`two_view_cross_entropy` of losses/targets.py where the strong views that the network answered are `seen`, and
    `smoothing` of the label's mass goes evenly to all classes."""
    classes = weak.shape[-1]
    target = (1 - smoothing) * F.one_hot(labels, classes) + smoothing / classes
    on_weak = F.cross_entropy(weak, labels, label_smoothing=smoothing)
    return (1 - share) * on_weak + share * seen.loss(strong, target)


def pasted(images: Float[Tensor, "n 3 h w"], *, chance: float) -> Pasted:
    """Into a share `chance` of the images, a rectangle of another, drawn at random: sec. 3.1 and alg. A1.

    Its area is uniform in 0..1 of the image and its middle anywhere; what lies outside is cut off. With 0 nothing is
    drawn and the images are as they were.
    """
    n, (height, width), device = len(images), images.shape[-2:], images.device
    partner, own = torch.arange(n, device=device), torch.ones(n, device=device)
    if chance == 0:
        return Pasted(images, partner, own)
    partner = torch.randperm(n, device=device)
    side = torch.rand(n, device=device).sqrt() * (torch.rand(n, device=device) < chance)
    rows, columns = (_span(side, length) for length in (height, width))
    patch = rows[:, :, None] & columns[:, None, :]
    mixed = torch.where(patch[:, None], images[partner], images)
    return Pasted(mixed, partner, 1 - patch.float().mean((1, 2)))


def _span(side: Float[Tensor, " n"], length: int) -> Tensor:
    """Pixels of an axis within a piece of `side` (a share of `length`) about a random middle, bool [n, length]."""
    middle = torch.rand(len(side), device=side.device) * length
    place = torch.arange(length, device=side.device) + 0.5
    return (place - middle[:, None]).abs() < side[:, None] * length / 2
