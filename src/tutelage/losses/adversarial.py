"""What a critic is to learn, and those who are to fool it."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Form = Literal["bce", "least_squares"]


def verdict_loss(verdict: Float[Tensor, "n ..."], *, real: bool, form: Form) -> Float[Tensor, ""]:
    """How far a critic's verdicts (logits) on images, maps or vectors are from "real", or from "not"; mean over all.

    "bce": cross entropy. Goodfellow et al., Generative Adversarial Nets, NIPS 2014. https://arxiv.org/abs/1406.2661
    "least_squares": squared distance from 1, or 0. Mao et al., ICCV 2017, eq. 9. https://arxiv.org/abs/1611.04076
    """
    if form == "bce":
        return F.softplus(-verdict if real else verdict).float().mean()
    return (verdict - float(real)).square().float().mean()


def critic_loss(real: Float[Tensor, "n ..."], other: Float[Tensor, "m ..."], *, form: Form) -> Float[Tensor, ""]:
    """Half the sum of the verdict losses on both: what a critic descends."""
    return 0.5 * (verdict_loss(real, real=True, form=form) + verdict_loss(other, real=False, form=form))


def reversed_gradient(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same, but gradients change sign on their way back: who made `x` ascends what a critic of it descends.

    Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, sec. 4.2. https://arxiv.org/abs/1505.07818
    """
    turned: Tensor = _Reversed.apply(x)
    return turned


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def label_game(
    real: Float[Tensor, " n"], ours: Float[Tensor, " n"], theirs: Float[Tensor, " n"], *, share: float
) -> Float[Tensor, ""]:
    """E log D + share E log(1 - D) of a student's labels + (1 - share) E log(1 - D) of its teacher's, from D's logits.

    A critic climbs it, and both of the others go down. Where D cannot tell, it is -2 ln 2 whatever the share.
    Wang et al., KDGAN, NeurIPS 2018, eq. 2.
    """
    told = share * F.softplus(ours).float().mean() + (1 - share) * F.softplus(theirs).float().mean()
    return -(F.softplus(-real).float().mean() + told)


def critic_accuracy(real: Float[Tensor, "n ..."], other: Float[Tensor, "m ..."]) -> Float[Tensor, ""]:
    """Share of the verdicts (logits) that are right, either side counting half: one that never changes has 0.5."""
    return 0.5 * ((real > 0).float().mean() + (other <= 0).float().mean())
