"""What networks that learn together lack to agree. Logits of m of them on n images come as [m, n, c]."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.losses.distillation import kl_rows
from tutelage.losses.targets import weighted_mean
from tutelage.types import Losses

Target = Literal["min_logit", "naive", "linear", "general"]


def all_learn(said: Float[Tensor, "m n c"], labels: Int[Tensor, " b"]) -> Float[Tensor, ""]:
    """Sum over the networks of their mean cross entropy on the first b of the images, whose labels are known."""
    known = said[:, : len(labels)]
    return len(said) * F.cross_entropy(known.flatten(0, 1), labels.repeat(len(said)))


def each_kl(
    said: Float[Tensor, "m n c"], told: Float[Tensor, "... n c"], *, temperature: float, told_learns: bool = False
) -> Float[Tensor, "m n"]:
    """`kl_rows` of each network to what it is told, [m, n, c], or to what all are, [n, c]."""
    told = told.expand_as(said).flatten(0, 1)
    rows = kl_rows(said.flatten(0, 1), told, temperature=temperature, teacher_learns=told_learns)
    return rows.view(said.shape[:2])


def others_kl(
    said: Float[Tensor, "m n c"], told: Float[Tensor, "m n c"], *, temperature: float
) -> Float[Tensor, "m n"]:
    """Mean over the others j of `kl_rows` of network k to told[j]; nothing where there are no others.

    With said = told it is what Zhang et al., Deep Mutual Learning, CVPR 2018, eqs. 8 and 9, add to the labels.
    https://arxiv.org/abs/1706.00384
    """
    if len(said) == 1:
        return 0 * said.sum(-1)
    rows = [each_kl(said, told.roll(shift, 0), temperature=temperature) for shift in range(1, len(said))]
    return torch.stack(rows).mean(0)


def others_mean(said: Float[Tensor, "m n c"], *, temperature: float) -> Float[Tensor, "m n c"]:
    """Logits whose softmax at T is the mean of that of the other networks, for each network."""
    p = (said / temperature).softmax(-1)
    mean = torch.stack([p.roll(shift, 0) for shift in range(1, len(said))]).mean(0)
    return temperature * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def fused_terms(
    said: Float[Tensor, "m n c"], fused: Float[Tensor, "n c"], *, labels: Int[Tensor, " b"], trust: Float[Tensor, " n"],
    scale: Float[Tensor, ""], temperature: float,
) -> Losses:  # fmt: skip
    """Labels for all and for a classifier on the last maps of all; it is told their mean logits, and they what it says.

    The divergences count `trust` [n] an image and `scale` as a whole. Kim et al., Feature Fusion for Online Mutual
    Knowledge Distillation, ICPR 2020, sec. III. https://arxiv.org/abs/1904.09058
    """
    told = each_kl(said, fused, temperature=temperature).sum(0)
    mean = kl_rows(fused, said.mean(0), temperature=temperature)
    return {
        "task": all_learn(said, labels),
        "fused": F.cross_entropy(fused[: len(labels)], labels),
        "distillation": scale * weighted_mean(told, trust),
        "ensemble": scale * weighted_mean(mean, trust),
    }


def mixture(weights: Float[Tensor, "n m"], said: Float[Tensor, "m n c"]) -> Float[Tensor, "n c"]:
    """Sum over the networks of their logits, each image by weights of its own. Autocast leaves it its digits."""
    return (weights.T[..., None] * said).sum(0)


def best_target(
    said: Float[Tensor, "m n c"], labels: Int[Tensor, " n"], how: Target, *, covariance: Float[Tensor, "m m"]
) -> Float[Tensor, "n c"]:
    """Logits of what is best in the answers of all, in one of the four ways below; only "general" reads `covariance`.

    Guo et al., Online Knowledge Distillation via Collaborative Learning, CVPR 2020, sec. 3.2.
    """
    if how == "min_logit":
        return least_target(said, labels)
    if how == "naive":
        return naive_target(said, labels)
    weights = linear_weights(said, labels) if how == "linear" else general_weights(covariance)
    return mixture(weights.expand(said.shape[1], -1), said)


def naive_target(said: Float[Tensor, "m n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """Of each image the logits of the network whose cross entropy is least: KDCL-Naive."""
    lost = F.cross_entropy(said.flatten(0, 1), labels.repeat(len(said)), reduction="none").view(said.shape[:2])
    best = lost.argmin(0)[None, :, None].expand(1, *said.shape[1:])
    return said.gather(0, best)[0]


def least_target(said: Float[Tensor, "m n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
    """Logits less their label's own, and of each class the least of any network: KDCL-MinLogit.

    That of the label is 0, and the cross entropy is no larger than any network's.
    """
    own = labels[None, :, None].expand(len(said), -1, 1)
    return (said - said.gather(-1, own)).amin(0)


def linear_weights(said: Float[Tensor, "m n c"], labels: Int[Tensor, " n"], *, steps: int = 100) -> Float[Tensor, " m"]:
    """Weights, 0 or more and of sum 1, of the mixture of logits whose mean cross entropy is least: KDCL-Linear.

    The problem is convex. Exponentiated gradient from equal weights, with a step that is the inverse of a bound on the
    curvature, is within bound * ln(m) / `steps` of the best.
    """
    m, n, _ = said.shape
    truth = F.one_hot(labels, said.shape[-1])
    spread = (said.amax(-1) - said.amin(-1)).square().mean(1).amax() / 4
    logs = said.new_zeros(m)
    for _ in range(steps):
        error = (logs.softmax(0)[:, None, None] * said).sum(0).softmax(-1) - truth
        logs = logs - (error * said).sum((1, 2)) / n / spread.clamp_min(1e-6)
    return logs.softmax(0)


def general_weights(covariance: Float[Tensor, "m m"]) -> Float[Tensor, " m"]:
    """C^-1 1 / (1' C^-1 1), of sum 1: the mixture of least variance for errors of that covariance. KDCL-General.

    A millionth of the mean variance is added to each, so that networks that err alike share a weight.
    """
    ridge = (1e-6 * covariance.diagonal().mean()).clamp_min(torch.finfo(torch.float32).tiny)
    ones = torch.ones(len(covariance), dtype=torch.double, device=covariance.device)
    solved: Tensor = torch.linalg.solve_ex(covariance.double() + ridge * ones.diag(), ones).result
    return (solved / solved.sum()).to(covariance.dtype)
