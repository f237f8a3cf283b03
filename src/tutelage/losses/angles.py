"""Losses that see the direction of an embedding and not its length."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.precision import full_precision


def angular_rows(student: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """(1 - cos)^2 of the angle between two embeddings, from 0 to 4. No gradient to `teacher`.

    Angular distillation of Duong et al., ShrinkTeaNet, 2019. https://arxiv.org/abs/1905.10620
    """
    return (1 - F.cosine_similarity(student, teacher.detach(), dim=1)).square()


def arcface_logits(
    embedding: Float[Tensor, "n d"],
    centres: Float[Tensor, "c d"],
    labels: Int[Tensor, " n"],
    *,
    scale: float = 64.0,
    margin: float = 0.5,
) -> Float[Tensor, "n c"]:
    """`scale` times the cosine to each class centre, where the angle to the label's is made `margin` radians wider.

    An angle that would pass pi loses margin sin(margin) of its cosine instead, as in the authors' code: the logit goes
    on falling. Deng et al., ArcFace, CVPR 2019, eq. 3. https://arxiv.org/abs/1801.07698
    """
    with full_precision(embedding):
        cosine = F.normalize(embedding, dim=1) @ F.normalize(centres, dim=1).mT
    own = cosine.gather(1, labels[:, None])
    sine = (1 - own.square()).clamp_min(1e-6).sqrt()  # its slope at 0 is infinite
    wider = own * math.cos(margin) - sine * math.sin(margin)
    wider = torch.where(own > -math.cos(margin), wider, own - margin * math.sin(margin))
    return scale * cosine.scatter(1, labels[:, None], wider)
