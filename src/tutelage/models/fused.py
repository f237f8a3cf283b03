"""One classifier on the last maps of several networks.

Kim, Hyun, Chung, Kwak, Feature Fusion for Online Mutual Knowledge Distillation, ICPR 2020.
https://arxiv.org/abs/1904.09058
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.fusion import fusion
from tutelage.models.peers import Peers
from tutelage.types import Network, Outputs


class Fused(nn.Module):
    """Networks beside a student, and a classifier on the last maps of all of them: `fusion` and a layer."""

    def __init__(self, student: Network, classes: int, *, count: int):
        super().__init__()
        self.peers, self.stage = Peers(student, count), list(student.widths)[-1]
        width = student.widths[self.stage]
        self.fusion = nn.Sequential(*fusion(width, networks=count + 1), nn.Linear(width, classes))

    def forward(
        self, images: Float[Tensor, "n 3 h w"], features: dict[str, Tensor]
    ) -> tuple[list[Outputs], Float[Tensor, "n c"]]:
        """Of the images and the student's maps of them: what the other networks say, and what the classifier does."""
        others = self.peers(images)
        maps = torch.cat([features[self.stage], *(each.features[self.stage] for each in others)], dim=1)
        return others, self.fusion(maps).float()
