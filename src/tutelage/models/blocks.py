"""Which block of a transformer learns from which of a deeper one. Blocks are counted from 1; 0 is the embeddings."""

from typing import Any

import torch

from tutelage.models.average import Frozen
from tutelage.models.backbone import Backbone
from tutelage.models.tokens import is_transformer
from tutelage.types import BadInput, Network


def evenly(student: int, teacher: int) -> list[int]:
    """The teacher's block that ends the same share of its depth, for each of the student's 0 to `student`.

    12 to 4: 0, 3, 6, 9, 12, the uniform map of TinyBERT; 12 to 6: 0, 2, 4, ..., 12, PKD-Skip.
    """
    return [place * teacher // student for place in range(student + 1)]


def latest(student: int, teacher: int) -> list[int]:
    """The teacher's last blocks, for each of the student's 1 to `student`, after 0 for the embeddings: PKD-Last."""
    return [0, *range(teacher - student + 1, teacher + 1)]


def spread(student: int, teacher: int) -> list[int]:
    """The teacher's blocks that a student begins with, first and last among them: of 12 for 6, 1, 3, 5, 8, 10, 12."""
    return [1 + round(place * (teacher - 1) / max(1, student - 1)) for place in range(student)]


def depths(student: Network, teacher: Network, *, attention: bool = False) -> tuple[int, int]:
    """Blocks of the student and of its teacher.

    Raises BadInput where one is no transformer, the student is the deeper one, their images are cut into other patches
    or, with `attention`, their heads cannot be told apart one by one.
    """
    ours, theirs = _transformer(student, "student"), _transformer(teacher, "teacher")
    depth = len(ours.blocks), len(theirs.blocks)
    if depth[0] > depth[1]:
        raise BadInput(f"the student has {depth[0]} blocks, its teacher {depth[1]}. Take a student that is no deeper")
    tokens = [net.patch_embed.num_patches + net.num_prefix_tokens for net in (ours, theirs)]
    if tokens[0] != tokens[1]:
        raise BadInput(f"the student sees {tokens[0]} tokens, its teacher {tokens[1]}. Give both patches of one size")
    heads = [[block.attn.num_heads for block in net.blocks] for net in (ours, theirs)]
    if attention and len({*heads[0], *heads[1]}) > 1:
        raise BadInput(
            f"attention heads of student and teacher are {heads[0]} and {heads[1]}: all must be equally many"
        )
    return depth


def grid(net: Network) -> tuple[int, int]:
    """Rows and columns of patches that a transformer cuts an image into."""
    rows, columns = _transformer(net, "network").patch_embed.grid_size
    return rows, columns


@torch.no_grad()
def begin_with(student: Network, teacher: Network) -> None:
    """Give the student the teacher's embeddings, its blocks of `spread`, and the norm behind them; not the classifier.

    Raises BadInput where the student's blocks are not as wide as the teacher's.
    """
    ours, theirs = _transformer(student, "student"), _transformer(teacher, "teacher")
    if ours.embed_dim != theirs.embed_dim:
        raise BadInput(
            f"a student of width {ours.embed_dim} cannot begin with the blocks of a teacher of width "
            f"{theirs.embed_dim}. Give it the teacher's width and fewer blocks"
        )
    kept = spread(*depths(student, teacher))
    weights = theirs.state_dict()
    for name, value in ours.state_dict().items():
        first, *rest = name.split(".")
        if first == "blocks":
            name = ".".join(["blocks", str(kept[int(rest[0])] - 1), *rest[1:]])
        if first != "head":
            value.copy_(weights[name])


def _transformer(net: Network, whose: str) -> Any:
    inner: Any = net
    while isinstance(inner, Frozen):
        inner = inner.net
    if not isinstance(inner, Backbone) or not is_transformer(inner.net):
        name = inner.spec.name if isinstance(inner, Backbone) else type(inner).__name__
        raise BadInput(
            f"the {whose} is {name}, and this method compares tokens. Use a vision transformer with a class token for "
            "both: small_vit_4 and small_vit_2, or one of timm's"
        )
    return inner.net
