"""Losses of a student that answers with numbers, given labels and what a teacher answers. One number a sample.

Letters in shapes: n samples, d numbers that each is answered with. `weight` [n, d] says how far each label is trusted;
where it is 0 nothing is learned. Papers sum over d; here it is the mean over what has a weight, so that maps with blind
places count like whole ones. No gradient reaches a teacher.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_TINY = 1e-12
_MAD = 1.4826  # median absolute deviation of a normal distribution, times this, is its standard deviation


def row_means(loss: Float[Tensor, "n d"], weight: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """sum(weight * loss) / number of weights above 0 of each sample; 0, in the graph, where it has none."""
    counted = weight > 0
    return (torch.where(counted, loss, 0) * weight).sum(1) / counted.sum(1).clamp(min=1)


def squared_error(
    said: Float[Tensor, "n d"], wanted: Float[Tensor, "n d"], weight: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    """||said - wanted||^2. No gradient reaches `wanted`: a label, or a teacher's answer."""
    return row_means((said - wanted.detach()).square(), weight)


def imitation_trust(error: Float[Tensor, " n"], low: Float[Tensor, ""], high: Float[Tensor, ""]) -> Float[Tensor, " n"]:
    """Phi = 1 - e / (high - low) of a teacher's squared errors e, at least 0: what it is worth to be imitated.

    `low` and `high` are its smallest and largest error on all that is trained on. The largest error is never trusted.
    Saputra et al., Distilling Knowledge From a Deep Pose Regressor Network, ICCV 2019. https://arxiv.org/abs/1908.00858
    """
    return (1 - error / (high - low).clamp_min(_TINY)).clamp_min(0)


def bounded_error(student: Float[Tensor, " n"], teacher: Float[Tensor, " n"], *, margin: float) -> Float[Tensor, " n"]:
    """The student's squared error e_s where e_s + margin > e_t, the teacher's, else 0: enough is enough.

    Chen et al., Learning Efficient Object Detection Models with Knowledge Distillation, NIPS 2017.
    """
    return student * (student + margin > teacher.detach())


def trusted_labels(
    teacher: Float[Tensor, "n d"], labels: Float[Tensor, "n d"], weight: Float[Tensor, "n d"], *, threshold: float
) -> Bool[Tensor, "n d"]:
    """Where |teacher - label| <= threshold * sigma, sigma being 1.4826 medians of that difference over the batch."""
    apart = (teacher - labels).detach().abs()
    sigma = _MAD * torch.where(weight > 0, apart, torch.nan).nanmedian()
    return apart <= threshold * sigma


def outlier_rejection(
    said: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"], labels: Float[Tensor, "n d"],
    weight: Float[Tensor, "n d"], *, threshold: float = 3.0,
) -> Float[Tensor, " n"]:  # fmt: skip
    """|said - label|, or |said - teacher| where the label is too far from what the teacher says to be believed.

    Reconstructed from the abstract of Takamoto et al., MIPR 2020, whose formula could not be checked.
    https://arxiv.org/abs/2002.12597
    """
    believed = trusted_labels(teacher, labels, weight, threshold=threshold)
    return row_means((said - torch.where(believed, labels, teacher.detach())).abs(), weight)


def huber(
    said: Float[Tensor, "n d"], wanted: Float[Tensor, "n d"], weight: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    """Smooth L1, d^2 / 2 below 1 and |d| - 1 / 2 above. No gradient reaches `wanted`."""
    return row_means(F.smooth_l1_loss(said, wanted.detach(), reduction="none"), weight)
