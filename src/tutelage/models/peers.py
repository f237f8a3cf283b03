"""Networks that learn beside a student and are left behind after training: whole ones, and branches of its trunk."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.backbone import Backbone, create
from tutelage.models.tails import tail
from tutelage.types import BadInput, Network, Outputs


def renewed(net: nn.Module) -> nn.Module:
    """`net` itself, what its layers have learned drawn anew from torch's global state."""
    for module in net.modules():
        reset: Any = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    return net


def another(net: Network) -> Network:
    """A network like `net` that has learned nothing of it; published weights are its start too, where the spec says so.

    Random weights are drawn from torch's global state.
    """
    if isinstance(net, Backbone):
        return create(net.spec, net.net.num_classes).train()
    twin = copy.deepcopy(net).train()
    renewed(twin)
    return twin


class Peers(nn.Module):
    """`count` networks like a student."""

    def __init__(self, student: Network, count: int):
        super().__init__()
        self.nets = nn.ModuleList(another(student) for _ in range(count))

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> list[Outputs]:
        return [net(images) for net in self.nets]


class Branches(nn.Module):
    """`count` further copies, with weights of their own, of all that a student has behind stage `trunk`, from 1.

    Raises BadInput where the student cannot be cut there.
    """

    def __init__(self, student: Network, *, trunk: int, count: int):
        super().__init__()
        if not 1 <= trunk < len(student.widths):
            raise BadInput(
                f"trunk is {trunk}: it must be from 1 to {len(student.widths) - 1}, the stages of the student but the "
                "last, so that branches have a stage of their own"
            )
        self.stage = list(student.widths)[trunk - 1]
        self.tails = nn.ModuleList(renewed(tail(student, trunk)) for _ in range(count))

    def forward(self, features: dict[str, Tensor]) -> list[Outputs]:
        """What each branch says, from the student's maps; it has no maps of its own to show."""
        return [behind(rest, features[self.stage]) for rest in self.tails]


def behind(rest: Any, maps: Float[Tensor, "n _ _ _"]) -> Outputs:
    """What a tail says of the maps of the stage before it."""
    *body, head = rest
    for part in body:
        maps = part(maps)
    embedding = head(maps, pre_logits=True)
    return Outputs(head.fc(embedding).float(), embedding.float(), {})


def logits_of(outputs: Sequence[Outputs]) -> Float[Tensor, "m n c"]:
    """Of each network or branch."""
    return torch.stack([each.logits for each in outputs])


def embeddings_of(outputs: Sequence[Outputs]) -> Float[Tensor, "m n d"]:
    """Of each network or branch, all of one width."""
    return torch.stack([each.embedding for each in outputs])
