"""Images in the style of others, by the amplitude of their low frequencies."""

import torch
from jaxtyping import Float
from torch import Tensor


def in_style(
    images: Float[Tensor, "n 3 h w"], style: Float[Tensor, "m 3 h w"], *, beta: float, share: float = 1.0
) -> Float[Tensor, "n 3 h w"]:
    """`images` in 0..1 with the low amplitudes of `style` and their own phase; image i takes those of style i mod m.

    Low are frequencies of up to floor(beta * min(h, w)) cycles a side in either direction; with beta 0 only the mean
    moves. `share` of the amplitude is the style's, from 0 to 1. Pixels that leave 0..1 are clipped: the authors, whose
    images end in 8 bits too, do not clip in between. Without a style the images stay.
    Yang and Soatto, FDA: Fourier Domain Adaptation for Semantic Segmentation, CVPR 2020, eqs. 2 and 3.
    https://arxiv.org/abs/2004.05498
    """
    if not len(style) or not len(images):
        return images
    height, width = images.shape[-2:]
    reach = int(beta * min(height, width))
    own, theirs = torch.fft.fft2(images.float()), torch.fft.fft2(style.float())
    theirs = theirs[torch.arange(len(images), device=images.device) % len(style)]
    far = [(torch.fft.fftfreq(side, d=1 / side, device=images.device).abs() <= reach) for side in (height, width)]
    low = (far[0][:, None] & far[1][None]) * share
    size = own.abs()
    moved = torch.polar(size + low * (theirs.abs() - size), own.angle())
    styled: Tensor = torch.fft.ifft2(moved).real.clamp(0, 1).to(images.dtype)
    return styled
