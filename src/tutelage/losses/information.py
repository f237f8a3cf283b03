"""Losses on what the embeddings of a batch tell of each other, by Renyi's entropy of matrices.

Miles, Lopez Rodriguez, Mikolajczyk, Information Theoretic Representation Distillation, BMVC 2022.
https://arxiv.org/abs/2112.00459

`trust` [n] says what each image counts, all the same where it is left out; one of trust 0 might as well not be there.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.relations import gram
from tutelage.losses.targets import weighted_mean

_FLAT = 1e-8  # variance of a dimension below which it says nothing, and so is correlated with nothing


def correlation_entropy(
    student: Float[Tensor, "n d"],
    teacher: Float[Tensor, "n d"],
    *,
    alpha: float = 1.5,
    trust: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """log2 of the sum over dimensions of |c - 1|^(2 alpha), where c is the correlation of a dimension in both networks.

    Dimensions are standardised by the unbiased deviation and c is a mean over n, as in the authors' code: agreement is
    c = (n - 1) / n, and the loss is then log2(d) - 2 alpha log2(n), which is negative. No gradient reaches the teacher.
    """
    weight = torch.ones_like(student[:, 0]) if trust is None else trust
    ours, theirs = (_standardised(x, weight) for x in (student, teacher.detach()))
    correlation = (weight[:, None] * ours * theirs).sum(0) / weight.sum()
    return (correlation - 1).abs().pow(2 * alpha).sum().log2()


def missing_information(
    student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"], *, trust: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Sum of the squares of G_s less that of G_st = G_s * G_t, Gram matrices of unit rows, each of trace one.

    0 where any two images that the student relates are the same to the teacher. No gradient reaches the teacher.
    """
    weight = torch.ones_like(student[:, 0]) if trust is None else trust
    ours, theirs = (gram(F.normalize(x.float())) for x in (student, teacher.detach()))
    # Entries times the root of their pair's trust: both traces are then the sum of the trust.
    apart = ours.square() - (ours * theirs).square()
    return weighted_mean(apart.flatten(), (weight[:, None] * weight).flatten())


def _standardised(x: Float[Tensor, "n d"], weight: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
    share = (weight / weight.sum())[:, None]
    centred = x.float() - (share * x).sum(0)
    # 1 - the sum of squared shares is (n - 1) / n for equal weights: the unbiased variance.
    variance = (share * centred.square()).sum(0) / (1 - share.square().sum()).clamp_min(_FLAT)
    return centred / variance.clamp_min(_FLAT).sqrt()
