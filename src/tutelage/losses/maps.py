"""What a student's feature maps lack to be a teacher's. One number for each image of the batch."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm

from tutelage.precision import full_precision

Elements = Literal["sum", "mean"]


def squared_rows(
    student: Float[Tensor, "n _ ..."], teacher: Float[Tensor, "n _ ..."], *, elements: Elements = "sum"
) -> Float[Tensor, " n"]:
    """||student - teacher||^2 of each sample, summed over its elements, or their mean. No gradient to `teacher`.

    Half the sum is the hint loss of Romero et al., FitNets, ICLR 2015, eq. 3. https://arxiv.org/abs/1412.6550
    Of logits, the loss of Tang et al., 2019, sec. 3.3, who write the sum and run the mean: no softmax, so a shift of
    all logits counts. https://arxiv.org/abs/1903.12136
    """
    squares = (student - teacher.detach()).square()
    return squares.sum(_inner(student)) if elements == "sum" else squares.mean(_inner(student))


def absolute_rows(one: Float[Tensor, "n _ ..."], other: Float[Tensor, "n _ ..."]) -> Float[Tensor, " n"]:
    """Mean absolute difference over the elements of each sample. No gradient to `other`."""
    return (one - other.detach()).abs().mean(_inner(one))


def flow(first: Float[Tensor, "n a h w"], second: Float[Tensor, "n b h w"]) -> Float[Tensor, "n a b"]:
    """Inner products of the channels of two maps, over the h w positions and divided by their number.

    The FSP matrix of Yim et al., A Gift from Knowledge Distillation, CVPR 2017, eq. 1. That work has no arXiv page.
    """
    with full_precision(first):  # the map is divided, not the product, which has more elements where maps are small
        return (first.flatten(2) / first[0, 0].numel()) @ second.flatten(2).mT


def attention(maps: Float[Tensor, "n c h w"], *, power: int = 2) -> Float[Tensor, "n p"]:
    """Where a map is strong: mean over channels of |F|^power at each of p = h w positions, scaled to length one.

    Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017, sec. 3.1.
    https://arxiv.org/abs/1612.03928
    """
    return F.normalize(maps.abs().pow(power).mean(1).flatten(1), dim=1)


def attention_rows(
    student: Float[Tensor, "n _ h w"],
    teacher: Float[Tensor, "n _ h w"],
    *,
    power: int = 2,
    form: Literal["code", "paper"] = "code",
) -> Float[Tensor, " n"]:
    """Distance of the attentions of two maps of any widths: its length ("paper", eq. 2) or mean square ("code")."""
    apart = attention(student, power=power) - attention(teacher.detach(), power=power)
    return vector_norm(apart, dim=1) if form == "paper" else apart.square().mean(1)


def boundary_rows(
    student: Float[Tensor, "n c h w"], teacher: Float[Tensor, "n c h w"], *, margin: float = 1.0
) -> Float[Tensor, " n"]:
    """Squared distance to the right side of zero by `margin`, summed over c h w; the teacher's sign says which side.

    (s - m)^2 where t > 0 and s <= m; (s + m)^2 where t <= 0 and s > -m; else 0.
    Heo et al., Knowledge Transfer via Distillation of Activation Boundaries, AAAI 2019, eq. 7.
    https://arxiv.org/abs/1811.03233
    """
    beyond = torch.where(teacher > 0, student, -student)
    return (margin - beyond).clamp_min(0).square().sum((1, 2, 3))


def factor_rows(student: Float[Tensor, "n ..."], teacher: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """Mean absolute difference of two factors, each flattened and scaled to length one. No gradient to `teacher`.

    Kim, Park, Kwak, Paraphrasing Complex Network, NeurIPS 2018, eq. 3 with p = 1. https://arxiv.org/abs/1802.04977
    """
    ours, theirs = F.normalize(student.flatten(1), dim=1), F.normalize(teacher.detach().flatten(1), dim=1)
    return (ours - theirs).abs().mean(1)


def _inner(x: Float[Tensor, "n _ ..."]) -> tuple[int, ...]:
    """All axes but the first. To flatten a map with channels last would copy it."""
    return tuple(range(1, x.ndim))
