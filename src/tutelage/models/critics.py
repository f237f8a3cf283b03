"""Networks that tell where something comes from: an image, a map of answers, an answer. They return logits."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

_SLOPE = 0.2  # of the leaky ReLU, in all papers below


def map_critic(channels: int, *, width: int = 64, depth: int = 4) -> nn.Sequential:
    """[n, channels, h, w] -> [n, 1, h / 2^(depth + 1), ...], of at least 2^(depth + 1) pixels a side; no batch norm.

    With 64 and 4 it is the discriminator of Tsai et al., AdaptSegNet, CVPR 2018, sec. 4.2: 64, 128, 256, 512 and 1
    channels. https://arxiv.org/abs/1802.10349. Smaller ones judge patches of small images.
    """
    widths = [channels, *(width * 2**level for level in range(depth))]
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))


def patch_critic(*, width: int = 32) -> nn.Sequential:
    """Images [n, 3, h, w] -> [n, 1, about h / 4, ...]: each logit judges a patch of 22 pixels.

    Isola et al., pix2pix, CVPR 2017, sec. 3.2.2, as CycleGAN uses it, with fewer steps for images of 28 or 32 pixels.
    Its instance norm is left out: on a constant map it divides by nothing. https://arxiv.org/abs/1611.07004
    """
    layers = list(map_critic(3, width=width, depth=2))[:-1]
    return nn.Sequential(*layers, nn.Conv2d(width * 2, 1, 4, padding=1))


def vector_critic(width: int, hidden: Sequence[int] = (500, 500)) -> nn.Sequential:
    """[n, width] -> [n, 1]. 500 and 500 hidden units as in Hoffman et al., CyCADA, ICML 2018, for answers on digits.

    https://arxiv.org/abs/1711.03213
    """
    widths = [width, *hidden]
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


def feature_critic(channels: int, *, width: int = 64) -> nn.Sequential:
    """Maps [n, channels, h, w] of any size -> [n, 1, h, w]: each logit judges the 7 x 7 positions around its own."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(_SLOPE),
        nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(_SLOPE), nn.Conv2d(width, 1, 3, padding=1),
    )  # fmt: skip
