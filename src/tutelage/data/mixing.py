"""Images of several pseudo-labelled ones. Chen et al., MixPL, 2023. https://arxiv.org/abs/2312.07006

Partners are the neighbours in the batch, which is drawn at random: nothing is drawn here.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.data.box_moves import chosen, large_enough
from tutelage.types import Boxes

Mix = Literal["none", "mixup", "mosaic", "both"]
MOSAIC_WEIGHT = 0.5  # of a mosaic's loss


def mixup(
    images: Float[Tensor, "n 3 s s"], boxes: Sequence[Boxes]
) -> tuple[Float[Tensor, "n 3 s s"], tuple[Boxes, ...]]:
    """The mean of each image and the next, with the boxes of both."""
    following = [*boxes[1:], *boxes[:1]]
    joined = tuple(_together(pair) for pair in zip(boxes, following, strict=True))
    return (images + images.roll(-1, 0)) / 2, joined


def mosaic(
    images: Float[Tensor, "n 3 s s"], boxes: Sequence[Boxes]
) -> tuple[Float[Tensor, "n 3 s s"], tuple[Boxes, ...]]:
    """Four images at half their size in the quarters of one, each with the three that follow it.

    Objects become half as large, which is what it is for. A box of less than a pixel is dropped. `s` is even.
    """
    if not len(images):
        return images, ()
    half = images.shape[-1] // 2
    small = F.interpolate(images, size=(half, half), mode="bilinear", antialias=True)
    corners = [(0, 0), (half, 0), (0, half), (half, half)]
    rows = [torch.cat([small.roll(-k, 0), small.roll(-k - 1, 0)], dim=-1) for k in (0, 2)]
    tiles = [
        [_shrunk(boxes[(place + k) % len(boxes)], corner) for k, corner in enumerate(corners)]
        for place in range(len(boxes))
    ]
    return torch.cat(rows, dim=-2), tuple(_together(four) for four in tiles)


def mixed(
    images: Float[Tensor, "n 3 s s"], boxes: Sequence[Boxes], weight: Float[Tensor, " n"], how: Mix
) -> tuple[Float[Tensor, "m 3 s s"], tuple[Boxes, ...], Float[Tensor, " m"]]:
    """The images and, after them, their mixtures: m is n, 2n or 3n.

    A mixture weighs what the least of its images does: objects of one that weighs 0 have no boxes, and a mixture that
    counts would teach them as background.
    """
    parts = [(images, tuple(boxes), weight)]
    if how in ("mixup", "both"):
        parts.append((*mixup(images, boxes), torch.minimum(weight, weight.roll(-1))))
    if how in ("mosaic", "both"):
        four = torch.stack([weight.roll(-k) for k in range(4)]).amin(0)
        parts.append((*mosaic(images, boxes), MOSAIC_WEIGHT * four))
    pixels, places, weights = zip(*parts, strict=True)
    return torch.cat(pixels), tuple(one for part in places for one in part), torch.cat(weights)


def _together(boxes: Sequence[Boxes]) -> Boxes:
    return Boxes(*(torch.cat(fields) for fields in zip(*boxes, strict=True)))


def _shrunk(boxes: Boxes, corner: tuple[int, int]) -> Boxes:
    there = boxes._replace(places=boxes.places / 2 + boxes.places.new_tensor([*corner, *corner]))
    return chosen(there, large_enough(there.places))
