"""What other sensors than a colour camera would make of an image."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Modality = Literal["grey", "edges", "colour"]
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def seen_as(images: Float[Tensor, "n 3 h w"], modality: Modality) -> Float[Tensor, "n 3 h w"]:
    """Images in 0..1 as that sensor gives them, in three equal channels; "colour" ones stay.

    "grey": luma; "edges": the length of the gradient of the luma, from each pixel to the next, at most 1.
    """
    if modality == "colour":
        return images
    grey = (images * torch.tensor(_LUMA, device=images.device).view(3, 1, 1)).sum(1, keepdim=True)
    if modality == "edges":
        down, right = grey.diff(dim=2, append=grey[:, :, -1:]), grey.diff(dim=3, append=grey[..., -1:])
        grey = (down.square() + right.square() + _TINY).sqrt().clamp(max=1)  # a flat place has a gradient too
    return grey.expand(-1, 3, -1, -1)


_TINY = 1e-12
