"""Losses of detectors, one number a position, anchor or region, and how they become one number a batch.

torchvision's own losses know no weights, so the sums are taken here. Letters in shapes: ... any, c classes.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss


def weighted_mean(
    loss: Float[Tensor, "*shape"], weight: Float[Tensor, "*shape"], counted: Float[Tensor, "*shape"] | None = None
) -> Float[Tensor, ""]:
    """sum(weight * loss) / max(1, sum(counted)); `counted` is `weight` unless it is given.

    Where all is weighted alike the weight cancels, down to a sum of 1: with less in a batch, or nothing, the mean fades
    to a zero that still has a gradient.
    """
    return (weight * loss).sum() / (weight if counted is None else counted).sum().clamp(min=1)


def focal(
    logits: Float[Tensor, "*n c"], target: Float[Tensor, "*n c"], known: Tensor | None = None, *,
    alpha: float = 0.25, gamma: float = 2.0,
) -> Float[Tensor, "*n"]:  # fmt: skip
    """Sum over classes of -alpha_t (1 - p_t)^gamma log p_t, p by a sigmoid; `target` is 0 or 1.

    Classes that are not `known` (any shape that broadcasts) cost nothing.

    Lin et al. Focal loss for dense object detection. ICCV 2017, eq. 5. https://arxiv.org/abs/1708.02002
    """
    loss: Tensor = sigmoid_focal_loss(logits, target, alpha=alpha, gamma=gamma)
    return loss.sum(-1) if known is None else (loss * known).sum(-1)


def focal_cross_entropy(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"], also: Bool[Tensor, "n c"] | None = None, *, gamma: float
) -> Float[Tensor, " n"]:
    """-(1 - p)^gamma log p of the right class, p by a softmax; gamma 0 is cross-entropy.

    Where other classes would `also` be right, p is that of all of them together. So background is told from what
    nobody looked for: Cermelli et al. Modeling the background for incremental learning in semantic segmentation. CVPR
    2020. https://arxiv.org/abs/2002.00718

    Liu et al. Unbiased teacher for semi-supervised object detection. ICLR 2021, sec. 3.4, gamma 1.5 in its
    configurations. https://arxiv.org/abs/2102.09480
    """
    loss = functional.cross_entropy(logits, labels, reduction="none")
    if also is not None:  # p grows by a factor of 1 + sum exp(other - right); of none of them that is 1 exactly
        least = torch.finfo(logits.dtype).min / 2  # infinity would have no gradient
        others = torch.where(also, logits, least).logsumexp(-1)
        loss = loss - functional.softplus(others - logits.gather(-1, labels[..., None])[..., 0])
    return loss if gamma == 0 else (1 - (-loss).exp()).clamp(min=0) ** gamma * loss


def giou_loss(places: Float[Tensor, "*n 4"], target: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """1 - GIoU of boxes x1 y1 x2 y2, 0..2.

    Rezatofighi et al. Generalized intersection over union. CVPR 2019, alg. 1. https://arxiv.org/abs/1902.09630
    torchvision's picks the pairs that overlap by a mask, for which a GPU must be waited for.
    """
    shared = _area(torch.maximum(places[..., :2], target[..., :2]), torch.minimum(places[..., 2:], target[..., 2:]))
    union = _area(places[..., :2], places[..., 2:]) + _area(target[..., :2], target[..., 2:]) - shared
    hull = _area(torch.minimum(places[..., :2], target[..., :2]), torch.maximum(places[..., 2:], target[..., 2:]))
    return 1 - shared / (union + 1e-7) + (hull - union) / (hull + 1e-7)


def _area(low: Tensor, high: Tensor) -> Tensor:
    width, height = (high - low).clamp(min=0).unbind(-1)
    return width * height


def centerness(offsets: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of distances l t r b to a box's sides; 1 in its middle.

    Tian et al. FCOS. ICCV 2019, eq. 3. https://arxiv.org/abs/1904.01355
    """
    left, top, right, bottom = offsets.unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right).clamp(min=1e-6)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=1e-6)
    return (across * down).clamp(min=0).sqrt()


def smooth_l1(
    deltas: Float[Tensor, "*n 4"], target: Float[Tensor, "*n 4"], *, beta: float = 1 / 9
) -> Float[Tensor, "*n"]:
    """Sum over the four of d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; beta 0 is |d|.

    Girshick. Fast R-CNN. ICCV 2015, eq. 3 (beta 1). https://arxiv.org/abs/1504.08083
    """
    return functional.smooth_l1_loss(deltas, target, reduction="none", beta=beta).sum(-1)
