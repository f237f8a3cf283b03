"""Losses on depth, one number a pixel or an image. Where a sensor is blind the weight is 0 and nothing is learned.

Letters in shapes: n images, h w pixels.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-6


def affine_invariant(
    said: Float[Tensor, "n h w"], target: Float[Tensor, "n h w"], weight: Float[Tensor, "n h w"]
) -> Float[Tensor, "n h w"]:
    """|x - y| where both sides have their median taken off and are divided by their mean distance from it; 0 where
    there is no weight.

    Eq. 5 of Ranftl et al., and eq. 2-3 of Yang et al., Depth Anything, CVPR 2024. https://arxiv.org/abs/2401.10891
    A positive scale and a shift of either side change nothing; a negative scale does.
    """
    return (_normal(said, weight) - _normal(target, weight)).abs()


def log_difference(log_depth: Float[Tensor, "n h w"], depth: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """ln x - ln y of an answer ln x and a depth y (any unit, the answer has the same); 0 where y is not above 0.

    Its absolute value is the L1 loss of log depth.
    """
    seen = depth > 0  # also refuses nan
    return torch.where(seen, log_depth - torch.where(seen, depth, 1).log(), 0)


def silog(
    log_depth: Float[Tensor, "n h w"], depth: Float[Tensor, "n h w"], weight: Float[Tensor, "n h w"], *,
    share: float = 0.5,
) -> Float[Tensor, ""]:  # fmt: skip
    """mean(g^2) - share * mean(g)^2 of the log difference g of each image, weighted; mean over the images that have a
    weight. At `share` 1 the scale of an image's depth does not matter.

    Eigen, Puhrsch, Fergus, Depth map prediction, NeurIPS 2014, eq. 4. https://arxiv.org/abs/1406.2283
    """
    g, w = log_difference(log_depth, depth).flatten(1), (weight * (depth > 0)).flatten(1)
    total = w.sum(1).clamp_min(_TINY)
    each = (w * g.square()).sum(1) / total - share * ((w * g).sum(1) / total).square()
    seen = w.sum(1) > 0
    return (each * seen).sum() / seen.sum().clamp(min=1)


def without_worst(
    loss: Float[Tensor, "n h w"], weight: Float[Tensor, "n h w"], *, share: float
) -> Float[Tensor, "n h w"]:
    """The weights, 0 at that share of each image's weighted pixels (rounded down) whose loss is largest.

    Where a pseudo-label is far from all that was learned it is more often wrong than informative: 20 % in eq. 7 of
    Ranftl et al., 10 % for Yang et al., Depth Anything V2, NeurIPS 2024, sec. 5. https://arxiv.org/abs/2406.09414
    """
    counted = (weight > 0).flatten(1)
    large = loss.detach().flatten(1).masked_fill(~counted, -torch.inf)
    rank = large.argsort(dim=1, descending=True).argsort(dim=1)
    drop = (counted.sum(1, keepdim=True) * share).floor()
    return weight * (rank >= drop).view_as(weight)


def _normal(x: Float[Tensor, "n h w"], weight: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    seen = (weight > 0).flatten(1)
    flat = torch.where(seen, x.flatten(1), 0)
    median = torch.where(seen, flat, torch.nan).nanmedian(1, keepdim=True).values
    away = flat - torch.where(seen.any(1, keepdim=True), median, 0)
    spread = (away.abs() * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
    return (away * seen / spread.clamp_min(_TINY)).view_as(x)
