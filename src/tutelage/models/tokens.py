"""What a vision transformer computes on its way to an answer. timm is imported where it is used, as in backbone.py."""

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import BadInput, Tokens

Ask = Literal["hidden", "attention"]  # the tokens behind each block, or these and what its attention compares
HEADS = 4  # of small_vit of any width, so that attentions can be compared
PATCH = 4  # pixels of a side of its patches


def small_vit(blocks: int, width: int, *, classes: int, image_size: int) -> nn.Module:
    """A vision transformer for small images: 49 patches and a class token are made of 28 x 28 pixels.

    Raises BadInput where the width is no multiple of the heads, or the image is not made of whole patches.
    """
    from timm.models.vision_transformer import VisionTransformer

    if width % HEADS or image_size % PATCH:
        raise BadInput(
            f"small_vit has {HEADS} heads and patches of {PATCH} pixels: network.width, {width}, must be a multiple of "
            f"{HEADS}, and network.image_size, {image_size}, one of {PATCH}"
        )
    net: nn.Module = VisionTransformer(
        img_size=image_size, patch_size=PATCH, num_classes=classes, embed_dim=width, depth=blocks, num_heads=HEADS
    )
    return net


def is_transformer(net: Any) -> bool:
    """Whether `through_blocks` can run the network: a class token first, and timm's plain attention in each block."""
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import VisionTransformer

    plain = isinstance(net, VisionTransformer) and net.cls_token is not None and net.global_pool == "token"
    return plain and all(type(getattr(block, "attn", None)) is Attention for block in net.blocks)


def through_blocks(
    net: Any, images: Float[Tensor, "n 3 h w"], ask: Ask
) -> tuple[Float[Tensor, "n l d"], list[Float[Tensor, "n d _ _"]], Tokens]:
    """As timm's forward_intermediates: the last tokens and a map a block; and all on the way. Raises BadInput for
    networks of another kind.

    It goes through the blocks itself, for timm keeps the embeddings and the attention to itself.
    """
    if not is_transformer(net):
        raise BadInput(f"{type(net).__name__} has no class token to learn from. Use small_vit_4 or a ViT of timm's")
    x = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
    hidden, looked = [x], []
    for block in net.blocks:
        looked += [_compared(block, x)] if ask == "attention" else []
        x = block(x)
        hidden.append(x)
    height, width = net.patch_embed.dynamic_feat_size(images.shape[-2:])
    maps = [h[:, net.num_prefix_tokens :].unflatten(1, (height, width)).permute(0, 3, 1, 2) for h in hidden[1:]]
    last = net.norm(x)
    scores, values = tuple(s for s, _ in looked), tuple(v for _, v in looked)
    return last, maps, Tokens(tuple(h.float() for h in hidden), last.float(), scores, values)


def _compared(block: Any, x: Float[Tensor, "n l d"]) -> tuple[Float[Tensor, "n a l l"], Float[Tensor, "n a l v"]]:
    """Scores and values of the heads of a block whose input is `x`."""
    attn = block.attn
    queries, keys, values = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    scores = attn.scale * attn.q_norm(queries) @ attn.k_norm(keys).mT
    return scores.float(), values.float()
