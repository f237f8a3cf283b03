"""Losses between two tasks with binary labels, where one task tells the other's ranking what its own label cannot.

Yang et al. Cross-Task Knowledge Distillation in Multi-Task Recommendation. AAAI 2022. https://arxiv.org/abs/2202.09852
Letters in shapes: n samples. Scores are logits.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def finer_ranking(
    scores: Float[Tensor, " n"], own: Bool[Tensor, " n"], other: Bool[Tensor, " n"], *,
    positives: float = 1.0, negatives: float = 1.0,
) -> Float[Tensor, ""]:  # fmt: skip
    """-[ln sig(r+ - r-) + positives ln sig(r++ - r+-) + negatives ln sig(r-+ - r--)], each a mean over all its pairs.

    The first sign is the task's own label, the second the other task's: ++ above +- above -+ above --. The quadruplets
    of sec. 3.2 are drawn by the authors; a batch is small enough to take every pair. A pair of which a batch has one
    side only costs nothing.
    """
    return (
        above(scores, own, ~own)
        + positives * above(scores, own & other, own & ~other)
        + negatives * above(scores, ~own & other, ~own & ~other)
    )


def above(scores: Float[Tensor, " n"], high: Bool[Tensor, " n"], low: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean of -ln sigmoid(a - b) over all pairs of a score of `high` and one of `low`: Rendle et al., BPR, UAI 2009.

    https://arxiv.org/abs/1205.2618
    """
    pairs = high[:, None] & low[None]
    lost = F.softplus(scores[None] - scores[:, None])
    return (lost * pairs).sum() / pairs.sum().clamp(min=1)


def corrected(logits: Float[Tensor, " n"], labels: Bool[Tensor, " n"], *, margin: float = 0.0) -> Float[Tensor, " n"]:
    """A teacher's logits where they have the label's sign, and at least `margin` of it where they have not: at 1
    max(r, m), at 0 min(r, -m). Sec. 3.4, error correction."""
    return torch.where(labels, logits.clamp(min=margin), logits.clamp(max=-margin))


def calibrated(logits: Float[Tensor, " n"], scale: Tensor, shift: Tensor) -> Float[Tensor, " n"]:
    """P r + Q: a ranking's scores as logits of probabilities. Platt scaling, sec. 3.3; 1 and 0 leave them as they are.

    No gradient reaches the scores: what they are trained for is the order.
    """
    return scale * logits.detach() + shift


def soft_binary(
    student: Float[Tensor, " n"], teacher: Float[Tensor, " n"], *, temperature: float = 1.0
) -> Float[Tensor, ""]:
    """Binary cross entropy of sigmoid(student / T) against sigmoid(teacher / T), mean; the teacher has no gradient."""
    target = (teacher.detach() / temperature).sigmoid()
    return F.binary_cross_entropy_with_logits(student / temperature, target)
