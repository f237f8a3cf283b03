"""How unsure predictions are, as something to be made smaller, and how far to trust an image by them."""

import math

from jaxtyping import Float
from torch import Tensor

_FLOOR = 1e-8  # of the authors' code: the slope of a power stays finite at zero


def robust_entropy(logits: Float[Tensor, "n c ..."], *, eta: float) -> Float[Tensor, "n ..."]:
    """(e^2 + 1e-8)^eta of the entropy e, scaled to 0..1, of each image or pixel: eta above 1/2 spares sure ones.

    Yang and Soatto, FDA, CVPR 2020, eq. 4 and their code. https://arxiv.org/abs/2004.05498
    """
    logs = logits.log_softmax(1)
    entropy = -(logs.exp() * logs).sum(1) / math.log(logits.shape[1])
    return (entropy.square() + _FLOOR) ** eta


def sure_share(logits: Float[Tensor, "n c h w"], *, confidence: float) -> Float[Tensor, " n"]:
    """Share of an image's pixels whose top probability is at least `confidence`: the trust in its pseudo-labels.

    Tranheden et al., DACS, WACV 2021; Hoyer et al., MIC, CVPR 2023, eq. 7. https://arxiv.org/abs/2212.01322
    """
    return (logits.softmax(1).amax(1) >= confidence).float().mean((1, 2))
