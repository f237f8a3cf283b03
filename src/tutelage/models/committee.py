"""Several teachers as one network."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.average import Frozen
from tutelage.types import BadInput, Network, Outputs


class Committee(Network):
    """Answers as one network: the logarithm of its members' mean probability. What each says is in Outputs.members.

    Embedding and maps are the first member's. Raises BadInput where there is no member.
    """

    def __init__(self, members: Sequence[Network]):
        super().__init__()
        if not members:
            raise BadInput("a committee has no members: give it one network or more")
        self.members = nn.ModuleList(members)
        self.widths, self.embedding_width = members[0].widths, members[0].embedding_width

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Outputs:
        said: tuple[Outputs, ...] = tuple(member(images) for member in self.members)
        mean = torch.stack([one.logits.log_softmax(-1) for one in said]).logsumexp(0) - math.log(len(said))
        return Outputs(mean, said[0].embedding, said[0].features, members=said)


def members_of(net: Network) -> list[Network]:
    """The networks that a teacher is made of; itself, where it is one."""
    inner = net.net if isinstance(net, Frozen) else net
    return list(inner.members) if isinstance(inner, Committee) else [inner]  # type: ignore[arg-type]


def each(outputs: Outputs) -> tuple[Outputs, ...]:
    """What each member of a committee says; one teacher is a committee of one."""
    return outputs.members or (outputs,)


def each_said(outputs: Outputs) -> Float[Tensor, "m n c"]:
    """The logits of each member."""
    return torch.stack([one.logits for one in each(outputs)])
