"""Layers that are added behind the stages of a network.

The seven operations of Kang, Mun, Han, Towards Oracle Knowledge Distillation with Neural Architecture Search, AAAI
2020. https://arxiv.org/abs/1911.13019
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import BadInput


class Layer(NamedTuple):
    """One layer that is added behind a stage."""

    operation: str  # of OPERATIONS
    plus_input: bool  # add what went in
    plus_stage: bool  # add the map of the stage itself; behind it at once, that is the same map, and added once


Architecture = tuple[Layer, ...]  # the layers behind the first stage, then those behind the second, ...


def _conv(channels: int, size: int) -> nn.Module:
    conv = nn.Conv2d(channels, channels, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


def _separable(channels: int, size: int) -> nn.Module:
    each = nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False)
    mixed = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(each, mixed, nn.BatchNorm2d(channels), nn.ReLU())


OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "identity": lambda channels: nn.Identity(),
    "conv3": lambda channels: _conv(channels, 3),
    "conv5": lambda channels: _conv(channels, 5),
    "separable3": lambda channels: _separable(channels, 3),
    "separable5": lambda channels: _separable(channels, 5),
    "max_pool": lambda channels: nn.MaxPool2d(3, stride=1, padding=1),
    "average_pool": lambda channels: nn.AvgPool2d(3, stride=1, padding=1),
}


class Behind(nn.Module):
    """A stage with `layers` behind it: the map of the stage, grown."""

    def __init__(self, stage: nn.Module, layers: Architecture, width: int):
        super().__init__()
        self.stage, self.layers = stage, layers
        self.added = nn.ModuleList(OPERATIONS[layer.operation](width) for layer in layers)

    def forward(self, maps: Float[Tensor, "n _ _ _"]) -> Float[Tensor, "n c _ _"]:
        return grow(self.stage(maps), self.layers, list(self.added))


def grow(
    stage: Float[Tensor, "n c h w"], layers: Sequence[Layer], modules: Sequence[nn.Module]
) -> Float[Tensor, "n c h w"]:
    """The map of a stage after the layers behind it; `modules` are their operations."""
    maps = stage
    for layer, module in zip(layers, modules, strict=True):
        grown = module(maps)
        if layer.plus_input:
            grown = grown + maps
        if layer.plus_stage and not (layer.plus_input and maps is stage):
            grown = grown + stage
        maps = grown
    return maps


def check_layers(layers: Architecture) -> None:
    """Raises BadInput for an operation that is none."""
    for layer in layers:
        if layer.operation not in OPERATIONS:
            raise BadInput(f"network.added names {layer.operation!r}: operations are {', '.join(OPERATIONS)}")
