"""Losses on the order in which a teacher would list the other images of a batch for each of them, its queries.

Scores are larger for what comes earlier in a list. No gradient reaches the teacher.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage.losses.relations import distances
from tutelage.losses.targets import weighted_mean


def distance_scores(x: Float[Tensor, "n d"], *, alpha: float = 3.0, beta: float = 3.0) -> Float[Tensor, "n n"]:
    """-alpha ||x_i - x_j||^beta: how well image j answers query i.

    Chen, Wang, Zhang, DarkRank, AAAI 2018. https://arxiv.org/abs/1707.01220
    """
    return -alpha * distances(x) ** beta


def first_others(scores: Float[Tensor, "n n"], length: int) -> Int[Tensor, "n l"]:
    """For each query the places of the `length` best others, best first; fewer where there are no more."""
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return scores.masked_fill(itself, -torch.inf).topk(min(length, len(scores) - 1)).indices


def list_mle(student: Float[Tensor, "n l"]) -> Float[Tensor, " n"]:
    """-log of the probability of the order in which scores are given, each item drawn from those that are left.

    The "hard" loss of DarkRank, with the list cut after `l` items. https://arxiv.org/abs/1707.01220
    """
    left = student.flip(-1).logcumsumexp(-1).flip(-1)
    return (left - student).sum(-1)


def list_net(student: Float[Tensor, "n l"], teacher: Float[Tensor, "n l"]) -> Float[Tensor, " n"]:
    """KL(teacher || student) of the probabilities of all `l`! orders of a list.

    The "soft" loss of DarkRank. Its code leaves out the teacher's entropy, which has no gradient; with it, 0 means the
    same opinion. https://arxiv.org/abs/1707.01220
    """
    every = torch.tensor(list(itertools.permutations(range(student.shape[1]))))
    orders = every.to(student.device, non_blocking=True)  # torch.tensor(device=...) waits for the device
    ours, theirs = (-list_mle(x[:, orders].flatten(0, 1)).view(len(x), -1) for x in (student, teacher.detach()))
    return (theirs.exp() * (theirs - ours)).sum(-1)


def neighbour_triplets(
    x: Float[Tensor, "n d"], labels: Int[Tensor, " n"], *, epsilon: float = 0.1, margin: float = 0.9
) -> Float[Tensor, ""]:
    """(d(a, p) + epsilon mean_n [d(a, p) - d(a, n) + 2 margin]_+) / 2 with squared distances d, mean over all pairs
    (a, p) of a class; negatives n are all images of other classes.

    The large-margin neighbours of DarkRank's code, which pairs images in the sampler and so has one p for each a.
    """
    apart = distances(x).square()
    alike = labels[:, None] == labels
    others = alike & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    near = (apart[:, :, None] - apart[:, None, :] + 2 * margin).relu() * ~alike[:, None, :]  # [a, p, n]
    pushed = near.sum(-1) / (~alike).sum(-1).clamp_min(1)[:, None]
    return weighted_mean((0.5 * (apart + epsilon * pushed)).flatten(), others.flatten().float())


def pair_log_loss(scores: Float[Tensor, "n n"], labels: Int[Tensor, " n"], *, negatives: float) -> Float[Tensor, ""]:
    """-log sigmoid of the scores of pairs of a class, plus `negatives` times -log(1 - sigmoid) of those of two classes;
    mean over each kind of pair, so one of the first counts `negatives` drawn of the second.

    Tang and Wang, Ranking Distillation, KDD 2018. https://arxiv.org/abs/1809.07428
    """
    alike = labels[:, None] == labels
    others = alike & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    drawn = weighted_mean(F.softplus(-scores).flatten(), others.flatten().float())
    return drawn + negatives * weighted_mean(F.softplus(scores).flatten(), (~alike).flatten().float())


def position_weights(items: Int[Tensor, "n l"], sharpness: float) -> Float[Tensor, " l"]:
    """exp(-r / sharpness) for the places r = 1 to l of a list, scaled to sum one. Ranking Distillation."""
    return (-torch.arange(1, items.shape[1] + 1, device=items.device) / sharpness).softmax(0)


def discrepancy_weights(
    scores: Float[Tensor, "n m"], items: Int[Tensor, "n l"], *, candidates: Bool[Tensor, "n m"], mu: float
) -> Float[Tensor, "n l"]:
    """max(tanh(mu (rank - r)), 0), where item r of a list, from 0, has `rank` candidates above it by `scores`: what the
    student already ranks as high as the teacher needs no teaching. Ranking Distillation.

    The authors estimate the rank by sampling from a large set; a batch is small enough to count.
    """
    above = (scores[:, None, :] > scores.gather(1, items)[:, :, None]) & candidates[:, None, :]
    rank = above.sum(-1) - torch.arange(items.shape[1], device=items.device)
    return torch.tanh(mu * rank).relu()
