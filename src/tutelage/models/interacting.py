"""Two networks that look where the other one looks, and one classifier on the last maps of both.

Su, Liang, Zhang, Yu, Wang, Liu, Attention-based Feature Interaction for Efficient Online Knowledge Distillation, ICDM
2021; the attention is that of Woo et al., CBAM, ECCV 2018. https://arxiv.org/abs/1807.06521
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.fusion import fusion

Maps = Float[Tensor, "n c h w"]


class Attention(nn.Module):
    """How much each position of maps of `width` channels counts: SA(CA(x) x), from 0 to 1."""

    def __init__(self, width: int):
        from timm.layers.cbam import ChannelAttn

        super().__init__()
        self.channels = ChannelAttn(width, rd_ratio=1 / 16)
        self.positions = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, maps: Maps) -> Float[Tensor, "n 1 h w"]:
        seen = self.channels(maps)
        summary = torch.cat([seen.mean(1, keepdim=True), seen.amax(1, keepdim=True)], dim=1)
        return self.positions(summary).sigmoid()  # type: ignore[no-any-return]


def exchanged(one: Maps, other: Maps, attention: nn.Module) -> tuple[Maps, Maps]:
    """The maps of each network times the attention of the other to its own."""
    return one * attention(other), other * attention(one)


class Interacting(nn.Module):
    """Two networks, with an exchange behind each stage but the last by an attention that both share: of three stages,
    at a low level and a middle one. It answers by a classifier on both, so neither network can do without its peer.

    What a Backbone asks of timm's networks. Its maps are those of both side by side, [n, 2 widths, h, w].
    """

    def __init__(self, nets: Sequence[Any], classes: int):
        """`nets` are two of timm's ByobNets, alike and without a classifier."""
        super().__init__()
        widths = [stage["num_chs"] for stage in nets[0].feature_info][-len(nets[0].stages) :]
        self.nets, self.num_classes = nn.ModuleList(nets), classes
        self.attention = nn.ModuleList(Attention(width) for width in widths[:-1])
        self.fusion, self.fc = fusion(widths[-1], networks=2), nn.Linear(widths[-1], classes)

    def forward_intermediates(self, images: Float[Tensor, "n 3 _ _"]) -> tuple[Tensor, list[Tensor]]:
        """The last maps [n, 2 width, h, w], and those of each stage as the next one sees them."""
        nets: list[Any] = [*self.nets]
        one, other = (net.stem(images) for net in nets)
        seen = []
        for place in range(len(self.attention) + 1):
            one, other = nets[0].stages[place](one), nets[1].stages[place](other)
            if place < len(self.attention):
                one, other = exchanged(one, other, self.attention[place])
            seen.append(torch.cat([one, other], dim=1))
        return seen[-1], seen

    def forward_head(self, maps: Float[Tensor, "n _ _ _"], *, pre_logits: bool) -> Float[Tensor, "n d"]:
        """What the classifier reads of the last maps, and with `pre_logits=False` what it says."""
        fused = self.fusion(maps)
        return fused if pre_logits else self.fc(fused)  # type: ignore[no-any-return]

    def get_classifier(self) -> nn.Linear:
        return self.fc
