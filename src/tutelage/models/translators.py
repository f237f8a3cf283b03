"""Networks that make an image of another domain out of an image."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Translator(nn.Module):
    """Images in 0..1 of any size of at least 8 pixels: halved once, residual blocks, doubled again.

    The generator of Zhu et al., CycleGAN, ICCV 2017, app. 7.2, made small: one halving in place of two and `blocks` of
    `width` * 2 channels. A last sigmoid keeps pixels in range; it begins near its input, which helps where few steps
    are affordable (ours). https://arxiv.org/abs/1703.10593
    """

    def __init__(self, *, width: int = 16, blocks: int = 3):
        super().__init__()
        self.width, self.blocks = width, blocks
        self.into = nn.Sequential(_layer(3, width, 5), _layer(width, 2 * width, 3, stride=2))
        self.middle = nn.ModuleList(
            nn.Sequential(_layer(2 * width, 2 * width, 3), nn.Conv2d(2 * width, 2 * width, 3, padding=1))
            for _ in range(blocks)
        )
        self.back = _layer(2 * width, width, 3)
        self.last = nn.Conv2d(width, 3, 5, padding=2)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        seen = self.into(2 * images - 1)
        for block in self.middle:
            seen = seen + block(seen)
        fine = self.back(F.interpolate(seen, size=images.shape[-2:], mode="nearest"))
        own = images.clamp(_EDGE, 1 - _EDGE).logit()
        made: Tensor = torch.sigmoid(own + self.last(fine))
        return made


_EDGE = 0.05  # a pixel that is black or white has a slope all the same


def _layer(narrow: int, wide: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution, norm over each image, ReLU. The norm of one group stays finite on constant images."""
    return nn.Sequential(
        nn.Conv2d(narrow, wide, kernel, stride=stride, padding=kernel // 2), nn.GroupNorm(1, wide), nn.ReLU()
    )


class History(nn.Module):
    """The last images that a generator made: a critic that sees them does not forget.

    Of each image that is handed in, half come back as they are and half swap places with one of the store, by chance.
    Shrivastava et al., Learning from Simulated and Unsupervised Images, CVPR 2017, sec. 2.3; 50 images in CycleGAN.
    https://arxiv.org/abs/1612.07828
    """

    images: Tensor
    held: Tensor

    def __init__(self, capacity: int, shape: tuple[int, int, int]):
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, *shape))
        self.register_buffer("held", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, made: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Draws from torch's global state. Changes the store. With a capacity of 0 it gives back what it is given."""
        shown = made.detach().clone()
        capacity, held = len(self.images), int(self.held)
        for place, image in enumerate(made.detach()):
            if held < capacity:
                self.images[held] = image
                held += 1
            elif capacity and torch.rand(()) < 0.5:
                other = int(torch.randint(capacity, ()))
                shown[place] = self.images[other]
                self.images[other] = image
        self.held.fill_(held)
        return shown
