"""Losses of networks that answer for every pixel. Letters in shapes: n images, c classes, h w pixels.

Class 0 is background: what is none of the classes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage.types import IGNORE

BACKGROUND = 0


def pixel_cross_entropy(
    logits: Float[Tensor, "n c h w"], target: Int[Tensor, "n h w"], known: Bool[Tensor, "n c"] | None = None
) -> Float[Tensor, "n h w"]:
    """Cross entropy of every pixel, 0 where the target is IGNORE.

    `known` says which classes somebody looked for in each image. Background is then "none of these": a pixel of it may
    be any of the others, and costs -log of the sum of their probabilities and background's. So a class that nobody
    annotated is never a negative.

    Marginal loss of Shi et al., Marginal loss and exclusion loss for partially supervised multi-organ segmentation,
    Medical Image Analysis 2021, eq. 4. https://arxiv.org/abs/2007.03868
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    loss = -log_p.gather(1, target.clamp(min=0).long()[:, None])[:, 0]
    if known is not None:
        could_be = ~known
        could_be[:, BACKGROUND] = True
        either = -log_p.masked_fill(~could_be[:, :, None, None], -torch.inf).logsumexp(1)
        loss = torch.where(target == BACKGROUND, either, loss)
    return loss * (target != IGNORE)


def trusted_mean(loss: Float[Tensor, "*shape"], weight: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """sum(weight * loss) / number of weights above 0: half the trust is half the loss.

    Zero, in the graph, where all weights are 0. A loss that is not finite where its weight is 0 does no harm.
    """
    counted = weight > 0
    return (torch.where(counted, loss, 0) * weight).sum() / counted.sum().clamp(min=1)


def counted_mean(
    loss: Float[Tensor, "*shape"], weight: Float[Tensor, "*shape"], counted: Bool[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """sum(weight * loss) / number of those that are counted, whatever they weigh; zero, in the graph, where none is.

    So an image that a teacher is sure of nowhere takes its part of the mean with it. See `trusted_mean`.
    """
    return (torch.where(counted, loss * weight, 0)).sum() / counted.sum().clamp(min=1)


def multilabel_cross_entropy(
    logits: Float[Tensor, "n c"], target: Float[Tensor, "n c"], weight: Float[Tensor, "n c"]
) -> Float[Tensor, ""]:
    """Binary cross entropy of every class against a probability that it is there, `trusted_mean` of all.

    Weight 0: nobody looked for the class in this image.
    """
    return trusted_mean(F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none"), weight)
