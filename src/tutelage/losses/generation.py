"""Losses of models that make images."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def negative_elbo(
    images: Float[Tensor, "n 3 h w"],
    logits: Float[Tensor, "n 3 h w"],
    mean: Float[Tensor, "n d"],
    log_variance: Float[Tensor, "n d"],
) -> Float[Tensor, ""]:
    """What a variational autoencoder minimises: pixels that come back wrong, and codes that are far from N(0, 1).

    `logits` become pixels by a sigmoid. Summed over pixels and codes, mean over images.

    Kingma, Welling, Auto-Encoding Variational Bayes, ICLR 2014, eq. 10 and appendix B. https://arxiv.org/abs/1312.6114
    """
    wrong = F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2, 3))
    far = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
    return (wrong + far).mean()
