"""Several teachers as one network."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import Network, Outputs


class Committee(Network):
    """Says what each of m members says, side by side: logits [n, m c]. Embedding and maps are the first member's."""

    def __init__(self, members: Sequence[Network]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.widths, self.embedding_width = members[0].widths, members[0].embedding_width

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Outputs:
        said: list[Outputs] = [member(images) for member in self.members]
        return Outputs(torch.cat([each.logits for each in said], dim=-1), said[0].embedding, said[0].features)


def each_said(logits: Float[Tensor, "n mc"], classes: int) -> Float[Tensor, "m n c"]:
    """The logits of each member of a committee; of one teacher, a committee of one."""
    members: Tensor = logits.unflatten(-1, (-1, classes))
    return members.transpose(0, 1)
