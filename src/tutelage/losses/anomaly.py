"""How far students are from a teacher at each position of a map, and from each other; scores that are learned."""

from jaxtyping import Float
from torch import Tensor


def regression(students: Float[Tensor, "m n c h w"], teacher: Float[Tensor, "n c h w"]) -> Float[Tensor, " m"]:
    """Squared distance of each student to the teacher, summed over channels, mean over images and positions.

    Bergmann et al., Uninformed Students, CVPR 2020, eq. 6. https://arxiv.org/abs/1911.02357
    """
    return (students - teacher.detach()).square().sum(2).mean((1, 2, 3))


def regression_error(students: Float[Tensor, "m n c h w"], teacher: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
    """e, squared distance of the students' mean to the teacher (ibid., eq. 8)."""
    return (students.mean(0) - teacher).square().sum(1)


def disagreement(students: Float[Tensor, "m n c h w"]) -> Float[Tensor, "n h w"]:
    """v, mean squared length of the students less the squared length of their mean: their variance (ibid., eq. 9)."""
    return (students - students.mean(0)).square().sum(2).mean(0)  # the same, and never below zero by rounding


def ordinal_loss(scores: Float[Tensor, " n"], targets: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean |s - c|: a label that is wrong pulls no harder than one that is right.

    Pang et al., Self-trained Deep Ordinal Regression, CVPR 2020, eq. 2. https://arxiv.org/abs/2003.06780
    """
    return (scores - targets).abs().mean()
