"""Any timm backbone with a feature pyramid on its stages, for detectors.

FPN: Lin et al. Feature pyramid networks for object detection. CVPR 2017. https://arxiv.org/abs/1612.03144
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

from tutelage.models.backbone import NetworkSpec, from_timm, normalisation, small_resnet
from tutelage.models.layout import layout
from tutelage.types import BadInput


def group_norm(channels: int) -> nn.GroupNorm:
    """For a head on maps of `channels`, a multiple of 8: as many groups as divide it, 32 or fewer, of 8 or more."""
    most = min(32, channels // 8)
    return nn.GroupNorm(next(number for number in range(most, 0, -1) if channels % number == 0), channels)


class Pyramid(nn.Module):
    """Maps of `channels` channels, one a stride, finest first, named p2 for stride 4, p3 for 8 and so on.

    Strides that the backbone has come from its deepest stage of that stride; coarser ones are made from the last by
    convolutions of stride 2. The strides of small_resnet are 2, 4 and 8: of the levels 4, 8, 16 it gives two, and its
    first stage, which sees most positions and knows least, stays out of the pyramid.
    """

    def __init__(self, network: NetworkSpec, *, strides: tuple[int, ...], channels: int, download: bool):
        super().__init__()
        small = network.name == "small_resnet"
        self.net: Any  # timm's verbs have no types
        self.net = small_resnet(network.width, 0) if small else from_timm(network.name, 0, download)
        mean, std = normalisation(network)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.strides = strides
        found = _stages(self.net, network)
        self.own = tuple(stride for stride in strides if stride in found)  # levels that the backbone gives
        _check_strides(strides, found, network)
        self.indices = [found[stride][0] for stride in self.own]
        self.net.prune_intermediate_layers(self.indices, prune_norm=True)  # what has no gradient is no parameter
        if network.pretrained:  # the few images of a detector's batch are worse statistics than the published ones
            from timm.layers.norm_act import freeze_batch_norm_2d

            self.net = freeze_batch_norm_2d(self.net)
        self.fpn = FeaturePyramidNetwork([found[stride][1] for stride in self.own], channels)
        self.coarser = nn.ModuleList(_halving(channels) for _ in strides[len(self.own) :])
        self.widths = {_name(stride): channels for stride in strides}
        self.layout = layout(self)
        self.to(memory_format=self.layout)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n _ _ _"]]:
        normal = ((images - self.mean) / self.std).contiguous(memory_format=self.layout)
        maps = self.net.forward_intermediates(normal, indices=self.indices, intermediates_only=True)
        levels = list(self.fpn({_name(stride): m for stride, m in zip(self.own, maps, strict=True)}).values())
        for place, conv in enumerate(self.coarser):  # P6 and P7 of Lin et al. 2017 (RetinaNet), sec. 4
            levels.append(conv(functional.relu(levels[-1]) if place else levels[-1]))
        return dict(zip(self.widths, levels, strict=True))


def _halving(channels: int) -> nn.Module:
    conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
    nn.init.kaiming_uniform_(conv.weight, a=1)  # as in the pyramid
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _name(stride: int) -> str:
    return f"p{stride.bit_length() - 1}"


@torch.no_grad()
def _stages(net: Any, network: NetworkSpec) -> dict[int, tuple[int, int]]:
    """For each stride the place of the deepest stage that has it, and its channels. Measured, not believed."""
    size, training = network.image_size, net.training
    try:
        maps = net.eval().forward_intermediates(torch.zeros(1, 3, size, size), intermediates_only=True)
    except (RuntimeError, AssertionError) as error:  # timm asserts sizes that a network was not made for
        raise BadInput(
            f"{network.name} cannot take images of {size} pixels ({error}). Change detector.image_size"
        ) from error
    net.train(training)
    if maps[0].ndim != 4:
        raise BadInput(f"detector.backbone is {network.name!r}, whose stages are no maps. Use a convolutional one")
    # Where a size is no multiple of the stride, a map rounds up: 2 pixels a position are then 1.98.
    strides = [2 ** round(torch.log2(torch.tensor(size / m.shape[-1])).item()) for m in maps]
    return {stride: (place, maps[place].shape[1]) for place, stride in enumerate(strides)}


def _check_strides(strides: tuple[int, ...], found: dict[int, tuple[int, int]], network: NetworkSpec) -> None:
    has = ", ".join(map(str, found))
    if any(stride not in found and stride < max(found) for stride in strides) or strides[0] not in found:
        raise BadInput(
            f"detector.levels is {list(strides)}, but the stages of {network.name} have strides {has}. Start with "
            f"one of these and double: what is coarser than {max(found)} is made by further convolutions"
        )
    if network.image_size < strides[-1]:
        raise BadInput(
            f"detector.levels ends with stride {strides[-1]}, more than the {network.image_size} pixels of "
            "detector.image_size. Leave the last levels out"
        )
