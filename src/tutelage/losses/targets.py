"""Cross entropy against targets that are distributions, and averages over the samples worth keeping."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def soft_cross_entropy(logits: Float[Tensor, "n c"], target: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Cross entropy of each row against a distribution over classes. A row of zeros costs nothing."""
    return -(target * F.log_softmax(logits, dim=-1)).sum(-1)


def trusted_cross_entropy(
    logits: Float[Tensor, "n c"], target: Float[Tensor, "n c"], weight: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Cross entropy against pseudo-labels, each times the trust in it; mean over all `n`, so that
    rejected ones count as zero."""
    return mean_or_zero(soft_cross_entropy(logits, target) * weight)


def certain(labels: Int[Tensor, " n"], keep: Bool[Tensor, " n"], classes: int) -> Float[Tensor, "n c"]:
    """Distributions that are sure of one class; rows of zeros, which cost nothing, for what is not kept."""
    return (F.one_hot(labels, classes) * keep[:, None]).float()


def truncated_gaussian(
    sure: Float[Tensor, " n"], mean: Float[Tensor, ""], variance: Float[Tensor, ""], *, spread: float
) -> Float[Tensor, " n"]:
    """Weights of guesses that are so `sure`: 1 from the mean on, below it a Gaussian of `spread` standard deviations.

    Chen et al., SoftMatch, ICLR 2023, eq. 8, with lambda_max = 1. https://arxiv.org/abs/2301.10921
    """
    below = (mean - sure).clamp_min(0)
    return torch.exp(-0.5 * below.square() / (spread**2 * variance).clamp_min(torch.finfo(variance.dtype).tiny))


def sharpened(target: Float[Tensor, "n c"], temperature: float) -> Float[Tensor, "n c"]:
    """Distributions to the power of 1 / temperature, rows scaled to one again; rows of zeros stay.

    Below 1 the likelier classes win. Xie et al., Unsupervised Data Augmentation, NeurIPS 2020, sec. 3.2, sharpen so.
    https://arxiv.org/abs/1904.12848
    """
    powered = target ** (1 / temperature)
    return powered / powered.sum(-1, keepdim=True).clamp_min(torch.finfo(target.dtype).tiny)


def two_view_cross_entropy(
    weak: Float[Tensor, "n c"], strong: Float[Tensor, "n c"], labels: Int[Tensor, " n"], *, share: float
) -> Float[Tensor, ""]:
    """Cross entropy of two views of the same images, mean over all `n`. The strong view counts `share`."""
    on_weak, on_strong = (F.cross_entropy(view, labels) for view in (weak, strong))
    return (1 - share) * on_weak + share * on_strong


def mean_or_zero(x: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean, and of nothing a zero that is still part of the graph.

    So an empty batch has a loss, and every process computes the same gradients as the others.
    """
    return x.sum() / max(len(x), 1)


def masked_mean(x: Float[Tensor, " n"], keep: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over all `n`, rejected samples counting as zero: a step that keeps few samples is a small step."""
    return mean_or_zero(x * keep)


def weighted_mean(x: Float[Tensor, " n"], weight: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean in which the weights (>= 0) count relative to each other; zero, in the graph, where all are zero."""
    total = weight.sum()
    # One in place of 0, not the smallest number there is: the gradient is divided by it too, and would overflow.
    return (x * weight).sum() / (total + (total == 0))


def aligned(
    probabilities: Float[Tensor, "n c"], wanted: Float[Tensor, " c"], seen: Float[Tensor, " c"]
) -> Float[Tensor, "n c"]:
    """Predictions whose classes are made as frequent as `wanted`, given how frequent they are `seen`; rows sum to one.

    "Distribution alignment" of Berthelot et al., AdaMatch, ICLR 2022. https://arxiv.org/abs/2106.04732
    """
    moved = probabilities * (wanted + _EPSILON) / (seen + _EPSILON)
    return moved / moved.sum(-1, keepdim=True)


_EPSILON = 1e-6  # of the authors' code: a class never seen gets a large factor, not an infinite one
