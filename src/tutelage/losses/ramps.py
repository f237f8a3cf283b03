"""How a weight grows from about 0 to 1 while `progress` goes from 0 to 1."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def cosine_ramp(progress: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """(1 - cos(pi t)) / 2. Berthelot et al., AdaMatch, ICLR 2022. https://arxiv.org/abs/2106.04732"""
    return (1 - torch.cos(math.pi * progress)) / 2


def sigmoid_ramp(progress: Float[Tensor, ""], *, over: float = 1.0) -> Float[Tensor, ""]:
    """exp(-5 (1 - t)^2), which starts at 0.0067, over the first `over` of a run; then 1, and always where that is 0.

    Laine and Aila, Temporal Ensembling, ICLR 2017; also in Mean Teacher. https://arxiv.org/abs/1610.02242
    """
    left = (1 - progress / over).clamp_min(0) if over else torch.zeros_like(progress)
    return torch.exp(-5 * left.square())
