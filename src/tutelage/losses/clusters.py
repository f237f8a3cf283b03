"""How clearly an embedding belongs to one of several clusters."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def cluster_difference(embedding: Float[Tensor, "n d"], clusters: Float[Tensor, "c d"]) -> Float[Tensor, " n"]:
    """Cosine to the nearest cluster's mean less that to the next: 0 to 2. Of two, |cos(c1, h) - cos(c2, h)|.

    Ruder, Ghaffari, Breslin, Knowledge Adaptation: Teaching to Adapt, 2017, sec. 4.2, there for two classes.
    https://arxiv.org/abs/1702.02052
    """
    alike = F.normalize(embedding, dim=1) @ F.normalize(clusters, dim=1).T
    nearest = alike.topk(2, dim=1).values
    return nearest[:, 0] - nearest[:, 1]


def cluster_means(
    embedding: Float[Tensor, "n d"], labels: Int[Tensor, " n"], before: Float[Tensor, "c d"], *, decay: float
) -> Float[Tensor, "c d"]:
    """`before`, of the classes that are there moved towards their mean by 1 - `decay`; all the way where it was 0."""
    member = F.one_hot(labels, len(before)).to(embedding.dtype)
    number = member.sum(0)[:, None]
    mean = member.T @ embedding / number.clamp_min(1)
    fresh = (before == 0).all(1, keepdim=True)
    return torch.where(number > 0, torch.where(fresh, mean, before.lerp(mean, 1 - decay)), before)
