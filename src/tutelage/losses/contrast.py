"""Telling the own image from others."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.precision import full_precision


def memory_rows(similar: Float[Tensor, "*pairs n k1"], *, tau: float) -> Float[Tensor, "*pairs n"]:
    """Noise-contrastive estimation: -log h(s_0) - sum_k log(1 - h(s_k)), with h(s) = e^(s/tau) / (e^(s/tau) + K mean).

    `similar` are cosines of an image with its own memory, first, and with K others'. `mean` is that of all e^(s/tau) of
    the pair on the batch and no gradient reaches it: times the number of memories it is Z, by which the paper divides,
    and the number cancels.

    Yang, An, Xu, Multi-view Contrastive Learning for Online Knowledge Distillation, ICASSP 2021, eq. 11.
    https://arxiv.org/abs/2006.04093
    """
    scores, (n, memories) = similar / tau, similar.shape[-2:]
    part = math.log((memories - 1) / (max(1, n) * memories))  # of the sum is K mean
    noise = scores.detach().flatten(-2).logsumexp(-1) + part  # e^s itself is no float for a small tau
    sure = scores - noise[..., None, None]  # the logit of h
    return F.softplus(-sure[..., 0]) + F.softplus(sure[..., 1:]).sum(-1)


def nt_xent(one: Float[Tensor, "n width"], other: Float[Tensor, "n width"], *, temperature: float) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy: of 2n views of n images, which one shows the same image?

    Cosines over the temperature are the logits; a view is not compared with itself. Mean over all views, zero for
    none.

    Chen, Kornblith, Norouzi, Hinton, A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020,
    eq. 1. https://arxiv.org/abs/2002.05709
    """
    n, views = len(one), F.normalize(torch.cat([one, other]), dim=-1)
    if not n:
        return views.sum()
    with full_precision(views):
        alike = views @ views.T / temperature
    alike = alike.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=views.device), -torch.inf)
    return F.cross_entropy(alike, torch.arange(2 * n, device=views.device).roll(n))


def pair_similarities(
    seen: Float[Tensor, "m n width"], told: Float[Tensor, "m n k1 width"]
) -> Float[Tensor, "pairs n k1"]:
    """Of each ordered pair of different views, what one sees of an image times all that the other remembers."""
    with full_precision(seen):
        every = told @ seen.permute(1, 2, 0)  # [m, n, k1, m], who remembers first and who sees last
    views = range(len(seen))
    return torch.stack([every[b, :, :, a] for b in views for a in views if a != b])
