"""What stands between the last maps of several networks and one classifier.

Kim, Hyun, Chung, Kwak, Feature Fusion for Online Mutual Knowledge Distillation, ICPR 2020.
https://arxiv.org/abs/1904.09058
"""

from torch import nn


def fusion(width: int, *, networks: int) -> nn.Sequential:
    """From the maps of all side by side [n, networks x width, h, w] to [n, width].

    A 3 x 3 convolution of each channel alone, one of 1 x 1 to the width of one network, each with batch norm and ReLU;
    the mean over positions.
    """
    wide = networks * width
    return nn.Sequential(
        nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU(),
        nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
