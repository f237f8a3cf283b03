"""Losses on how the images of a batch lie to each other, whatever the widths of the two spaces.

`trust` [n] says what each image counts, all the same where it is left out. A pair counts the product of its two trusts,
a triple that of its three, so an image of trust 0 might as well not be in the batch. No gradient reaches the teacher.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.targets import weighted_mean
from tutelage.precision import full_precision

_NEAR = 1e-6  # duplicates count as this far from each other, as in the code of RKD, and have no gradient


def similarity_preserving(
    student: Float[Tensor, "n ..."], teacher: Float[Tensor, "n ..."], *, trust: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """||G_s - G_t||^2 / n^2, where G are the inner products of all pairs of maps, rows scaled to length one.

    Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, sec. 3. https://arxiv.org/abs/1907.09682
    """
    weight = _or_ones(trust, student)
    ours, theirs = (F.normalize(gram(_as_rows(x)) * weight.sqrt()) for x in (student, teacher.detach()))
    apart = (ours - theirs).square().sum(-1)  # of the rows, their entries times the trust of the column
    return (apart * weight).sum() / weight.sum().square()


def relational_distance(
    student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"], *, trust: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Huber loss (delta 1) between distances, each set scaled to mean one; mean over n x n, the zero diagonal included.

    Park et al., Relational Knowledge Distillation, CVPR 2019, sec. 3.2.1; the diagonal as in the authors' code.
    https://arxiv.org/abs/1904.05068
    """
    pairs = _pairs(_or_ones(trust, student))
    ours, theirs = (_scaled_distances(x, pairs) for x in (student, teacher.detach()))
    return weighted_mean(F.smooth_l1_loss(ours, theirs, reduction="none").flatten(), pairs.flatten())


def relational_angle(
    student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"], *, trust: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Huber loss (delta 1) between the cosines of all angles; mean over n x n x n, angles at a point with itself,
    whose cosine counts as 0, included. Same paper, sec. 3.2.2."""
    weight = _or_ones(trust, student)
    with full_precision(student):
        apart = F.smooth_l1_loss(_cosines(student), _cosines(teacher.detach()), reduction="none")
        return (apart @ weight @ weight @ weight) / weight.sum() ** 3


def correlation_congruence(
    student: Float[Tensor, "n d"],
    teacher: Float[Tensor, "n _"],
    *,
    gamma: float = 0.4,
    order: int | None = 2,
    trust: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over n x n of the squared difference of two kernels of unit rows: Gaussian, as the Taylor sum to `order`,
    or, where that is None, bilinear.

    Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019, sec. 3.
    https://arxiv.org/abs/1904.01802
    """
    pairs = _pairs(_or_ones(trust, student))
    ours, theirs = (gram(F.normalize(x.float())) for x in (student, teacher.detach()))
    if order is not None:
        ours, theirs = gaussian_kernel(ours, gamma, order), gaussian_kernel(theirs, gamma, order)
    return weighted_mean((ours - theirs).square().flatten(), pairs.flatten())


def gaussian_kernel(products: Float[Tensor, "*n"], gamma: float, order: int) -> Float[Tensor, "*n"]:
    """exp(-gamma ||x - y||^2) of unit vectors with inner products x y, as its Taylor sum to `order`. Same paper."""
    terms = (math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * products**p for p in range(order + 1))
    return torch.stack(list(terms)).sum(0)


def neighbour_products(
    student: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"], *, trust: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Mean over neighbours in the batch, i and i + 1, of |d_i| |d_i+1|, d being student less teacher.

    What the authors of Correlation Congruence sent to those of RepDistiller. It is not the loss of their paper.
    """
    weight, apart = _or_ones(trust, student), (student - teacher.detach()).abs()
    return weighted_mean((apart[:-1] * apart[1:]).sum(-1), weight[:-1] * weight[1:])


def gram(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Inner products of all rows, in full precision."""
    return _Products.apply(x.float())  # type: ignore[no-any-return]


def distances(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Euclidean distances of all rows, in full precision. A distance of 0 has no gradient."""
    # By products, as cdist does it for many rows, the distance of near points is mostly rounding.
    return torch.cdist(x.float(), x.float(), compute_mode="donot_use_mm_for_euclid_dist")


def _scaled_distances(x: Float[Tensor, "n d"], pairs: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    others = 1 - torch.eye(len(x), device=x.device)
    apart = distances(x).clamp_min(_NEAR) * others
    mean = weighted_mean(apart.flatten(), (pairs * others).flatten())
    return apart / mean.clamp_min(_NEAR)


def _cosines(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n n"]:
    """Of the angle at i between j and k."""
    edges = x.float()[None] - x.float()[:, None]
    length = edges.square().sum(-1, keepdim=True)
    # A zero edge has no direction. Dividing it by a small number instead would give it an enormous gradient.
    edges = edges * torch.where(length > _NEAR**2, length, torch.inf).rsqrt()
    return _Products.apply(edges)  # type: ignore[no-any-return]


class _Products(torch.autograd.Function):
    """x @ x.mT in full precision. Its gradient takes one product, where that of a matrix and another takes two."""

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "*m n d"]) -> Float[Tensor, "*m n n"]:
        ctx.save_for_backward(x)
        with full_precision(x):
            return x @ x.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Float[Tensor, "*m n n"]) -> Float[Tensor, "*m n d"]:
        x: Tensor = ctx.saved_tensors[0]
        with full_precision(x):
            return (gradients[0] + gradients[0].mT) @ x


def _as_rows(x: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
    """Each sample as a row. Inner products do not see the order of its elements, so maps with channels last keep it."""
    last = x.movedim(1, -1)
    return (last if last.is_contiguous() else x).flatten(1)


def _pairs(weight: Float[Tensor, " n"]) -> Float[Tensor, "n n"]:
    return weight[:, None] * weight


def _or_ones(trust: Tensor | None, x: Tensor) -> Float[Tensor, " n"]:
    return torch.ones(len(x), device=x.device) if trust is None else trust
