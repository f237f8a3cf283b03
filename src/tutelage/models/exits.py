"""Classifiers on a network's way to its last stage.

Zhang, Song, Gao, Chen, Bao, Ma, Be Your Own Teacher, ICCV 2019. https://arxiv.org/abs/1905.08094
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import BadInput, Network


class Exits(nn.Module):
    """Behind each stage but the last a bottleneck that is as wide at its end as the network's embedding, and a layer.

    A bottleneck is a 3 x 3 convolution of stride 2, batch norm and ReLU for each stage that is skipped, and the mean
    over what is left of the map. Raises BadInput where there is one stage only.
    """

    def __init__(self, net: Network, classes: int):
        super().__init__()
        if len(net.widths) < 2:
            raise BadInput(f"a network of {len(net.widths)} stage has no exit before its last. Use one of two or more")
        self.stages = list(net.widths)[:-1]
        widths = [*list(net.widths.values())[:-1], net.embedding_width]
        self.bottlenecks = nn.ModuleList(_bottleneck(widths[place:]) for place in range(len(self.stages)))
        self.layers = nn.ModuleList(nn.Linear(net.embedding_width, classes) for _ in self.stages)

    def forward(self, features: dict[str, Tensor]) -> list[tuple[Float[Tensor, "n c"], Float[Tensor, "n d"]]]:
        """Of each exit, shallowest first: logits, and what its layer reads."""
        seen = [net(features[name]) for net, name in zip(self.bottlenecks, self.stages, strict=True)]
        return [(layer(x).float(), x.float()) for layer, x in zip(self.layers, seen, strict=True)]


def _bottleneck(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
