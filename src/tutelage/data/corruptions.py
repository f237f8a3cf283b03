"""What the way to a target does to an image, as tensors: the known half of a parallel pair."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Corruption = Literal["night", "fog", "noise", "background"]
_CELLS = 4  # of a background's coarse grid, a side


def corrupted(images: Float[Tensor, "n 3 h w"], how: Corruption, *, strength: float) -> Float[Tensor, "n 3 h w"]:
    """`images` in 0..1 as they would be; drawn from torch's global state. With a strength of 0 they stay.

    "night": darker, less red; "fog": towards light grey (Koschmieder's law at one distance); "noise": Gaussian, of
    0.2 * strength; "background": the difference to a smooth coloured field, as MNIST-M was made of MNIST (Ganin et al.,
    DANN, JMLR 2016, sec. 5.2.4), whose amplitude is `strength`.
    """
    if how == "night":
        tint = torch.tensor([0.4, 0.5, 0.6], device=images.device).view(3, 1, 1)
        made = images * (1 + strength * (tint - 1)).clamp_min(0)
    elif how == "fog":
        through = torch.exp(torch.tensor(-strength, device=images.device))
        made = images * through + 0.85 * (1 - through)
    elif how == "noise":
        made = images + 0.2 * strength * torch.randn_like(images)
    else:
        coarse = torch.rand(len(images), 3, _CELLS, _CELLS, device=images.device)
        field = F.interpolate(coarse, size=images.shape[-2:], mode="bilinear") if len(images) else images
        made = (strength * field - images).abs()
    return made.clamp(0, 1)
