"""How clearly an embedding belongs to one of several clusters, or to a part of its own."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage.losses.relations import distances
from tutelage.precision import full_precision


def cluster_difference(embedding: Float[Tensor, "n d"], clusters: Float[Tensor, "c d"]) -> Float[Tensor, " n"]:
    """Cosine to the nearest cluster's mean less that to the next: 0 to 2. Of two, |cos(c1, h) - cos(c2, h)|.

    Ruder, Ghaffari, Breslin, Knowledge Adaptation: Teaching to Adapt, 2017, sec. 4.2, there for two classes.
    https://arxiv.org/abs/1702.02052
    """
    with full_precision(embedding):
        alike = F.normalize(embedding, dim=1) @ F.normalize(clusters, dim=1).T
    nearest = alike.topk(2, dim=1).values
    return nearest[:, 0] - nearest[:, 1]


def cluster_means(
    embedding: Float[Tensor, "n d"], labels: Int[Tensor, " n"], before: Float[Tensor, "c d"], *, decay: float
) -> Float[Tensor, "c d"]:
    """`before`, of the classes that are there moved towards their mean by 1 - `decay`; all the way where it was 0."""
    member = F.one_hot(labels, len(before)).to(embedding.dtype)
    number = member.sum(0)[:, None]
    with full_precision(embedding):
        mean = member.T @ embedding / number.clamp_min(1)
    fresh = (before == 0).all(1, keepdim=True)
    return torch.where(number > 0, torch.where(fresh, mean, before.lerp(mean, 1 - decay)), before)


def subclass_rows(
    embedding: Float[Tensor, "n d"], labels: Int[Tensor, " n"], *, neighbours: int, margin: float
) -> Float[Tensor, " n"]:
    """||h - t||^2 of each sample, t being h moved to the mean of the `neighbours` nearest of its class in the batch and
    away from the mean of the others of its class unless these are `margin` or more off in mean squared distance.

    The slope at h is that of mean |h - near|^2 - mean |h - others|^2. Nothing but h learns: t is a target.
    Reconstructed: the formula of Tzelepi, Passalis, Tefas, Online Subclass Knowledge Distillation, 2021, could not be
    checked. https://doi.org/10.1016/j.eswa.2021.115132
    """
    h = embedding.detach().float()
    apart = distances(h).square()
    same = (labels[:, None] == labels) & ~torch.eye(len(h), dtype=torch.bool, device=h.device)
    rank = apart.masked_fill(~same, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    near, others = same & (rank < neighbours), same & (rank >= neighbours)
    close = (apart * others).sum(1) < margin * others.sum(1)
    with full_precision(h):
        to_near, to_others = (_mean_of(members, h) - h * members.any(1, keepdim=True) for members in (near, others))
    target = h + to_near - close[:, None] * to_others
    return (embedding - target).square().sum(1)


def _mean_of(members: Bool[Tensor, "n n"], h: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Mean of the members of each row; 0 where it has none."""
    return (members / members.sum(1, keepdim=True).clamp(min=1)) @ h
