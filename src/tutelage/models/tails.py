"""What of a network lies behind one of its stages."""

import copy
from typing import cast

import torch
from torch import nn

from tutelage.models.backbone import Backbone
from tutelage.models.layout import layout
from tutelage.types import BadInput, Network


def tail(net: Network, stage: int) -> nn.Module:
    """A copy of all behind stage number `stage`, counted from 1: maps [n, widths of that stage, h, w] to logits [n, c].

    Raises BadInput where the stages of the network cannot be told apart: those of small_resnet can, and those of
    timm's other ByobNets.
    """
    parts, inner = stages(net), cast(Backbone, net).net
    rest: list[nn.Module] = [*parts[stage:], inner.final_conv, inner.head]
    return nn.Sequential(*(copy.deepcopy(part) for part in rest)).to(memory_format=layout(net))


def map_sizes(net: Network, image_size: int) -> list[tuple[int, int]]:
    """Height and width of the map of each stage, for square images of `image_size` pixels."""
    training = net.training
    with torch.no_grad():
        maps = net.eval()(torch.zeros(1, 3, image_size, image_size, device=next(net.parameters()).device)).features
    net.train(training)
    return [(m.shape[-2], m.shape[-1]) for m in maps.values()]


def stages(net: Network) -> list[nn.Module]:
    """The stages of a network, which is a stem, these, a last convolution and a head. Raises BadInput for others."""
    inner = net.net if isinstance(net, Backbone) else None
    names = ("stem", "stages", "final_conv", "head")
    if inner is None or not all(hasattr(inner, name) for name in names) or len(inner.stages) != len(net.widths):
        what = net.spec.name if isinstance(net, Backbone) else type(net).__name__
        raise BadInput(f"{what} cannot be cut behind a stage: its parts are not {', '.join(names)}. Use small_resnet")
    return list(inner.stages)


def classifier(net: Network, classes: int) -> nn.Linear:
    """The last linear layer with an output a class: its rows embed the classes. Raises BadInput where there is none."""
    found = [part for part in net.modules() if isinstance(part, nn.Linear) and part.out_features == classes]
    if not found:
        what = net.spec.name if isinstance(net, Backbone) else type(net).__name__
        raise BadInput(f"{what} ends in no linear layer of {classes} classes, so nothing embeds them. Use small_resnet")
    return found[-1]
