"""Losses on which image a changed view comes from, for teachers and students that both have an opinion.

Xu, Liu, Li, Loy, Knowledge Distillation Meets Self-Supervision, ECCV 2020. https://arxiv.org/abs/2006.07114

Views are ordered so that view i comes from image i modulo the number of images.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.losses.targets import weighted_mean
from tutelage.precision import full_precision


def cosines(views: Float[Tensor, "m d"], images: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    """Cosines of each view with each image, in full precision."""
    with full_precision(views):
        return F.normalize(views.float()) @ F.normalize(images.float()).T


def own_image(similarity: Float[Tensor, "m n"]) -> Int[Tensor, " m"]:
    """For each view the place of the image that it comes from."""
    views, images = similarity.shape
    return torch.arange(views, device=similarity.device) % images


def among_trusted(similarity: Float[Tensor, "m n"], trust: Float[Tensor, " n"]) -> Float[Tensor, "m n"]:
    """Similarities whose softmax gives each image a share in proportion to its trust as well, and none for trust 0."""
    return similarity + trust.clamp_min(torch.finfo(trust.dtype).tiny).log()


def matching_loss(similarity: Float[Tensor, "m n"], *, trust: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Cross entropy of the softmax over the images for the own one; mean over the views by the trust in their image."""
    truth = own_image(similarity)
    lost = F.cross_entropy(among_trusted(similarity, trust), truth, reduction="none")
    return weighted_mean(lost, trust[truth])


def error_rank(scores: Float[Tensor, "m n"], truth: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """How many wrong answers score above the true one: 0 is correct."""
    return (scores > scores.gather(1, truth[:, None])).sum(-1)


def selected(rank: Int[Tensor, " m"], *, ratio: float, trust: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """1 for views of which the teacher is right, and for the share `ratio` of the others of which it is least wrong; 0
    for the rest. Views of trust 0 are neither chosen nor counted. The paper's "selective transfer"."""
    heard = trust > 0
    right, wrong = (heard & (rank == 0)).sum(), (heard & (rank > 0)).sum()
    order = torch.where(heard, rank, torch.iinfo(rank.dtype).max).argsort(stable=True)
    place = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
    return (place < right + (ratio * wrong).floor()).float()  # silent views come last
