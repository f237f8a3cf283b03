"""Boxes as what a head answers and back: positions, anchors, deltas, distances. Places are x1 y1 x2 y2 in pixels."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

_MOST = math.log(1000 / 16)  # a box grows by at most this: exp of a wild delta is no place


def positions(sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device) -> Float[Tensor, "p 4"]:
    """Of maps of heights and widths `sizes`, each position as the square of pixels that is its own.

    Their centres are those of FCOS, sec. 3.1: floor(s / 2) + x s. torchvision's lie at x s, half a stride aside.
    """
    levels = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = torch.meshgrid(*(torch.arange(side, device=device) for side in (height, width)), indexing="ij")
        low = stride * torch.stack([x, y], dim=-1).reshape(-1, 2).float()
        levels.append(torch.cat([low, low + stride], dim=-1))
    return torch.cat(levels)


def anchor_grid(
    generator: AnchorGenerator, sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device
) -> Float[Tensor, "p 4"]:
    """The anchors of all levels, finest first, those of a position one after another. Centres are at x s."""
    generator.set_cell_anchors(torch.float32, device)
    grid = [list(size) for size in sizes]
    return torch.cat(generator.grid_anchors(grid, [[stride, stride] for stride in strides]))


def encode(
    places: Float[Tensor, "*n 4"], anchors: Float[Tensor, "*_n 4"], scale: tuple[float, float] = (1.0, 1.0)
) -> Float[Tensor, "*n 4"]:
    """Deltas that move anchors onto boxes: (x - x_a) / w_a, (y - y_a) / h_a, log(w / w_a), log(h / h_a).

    Ren et al. Faster R-CNN. NeurIPS 2015, eq. 2. https://arxiv.org/abs/1506.01497. The first two are multiplied by
    `scale[0]`, the others by `scale[1]`.
    """
    centre, side = _centre_and_side(places)
    centre_a, side_a = _centre_and_side(anchors)
    return torch.cat([scale[0] * (centre - centre_a) / side_a, scale[1] * (side / side_a).log()], dim=-1)


def decode(
    deltas: Float[Tensor, "*n 4"], anchors: Float[Tensor, "*_n 4"], scale: tuple[float, float] = (1.0, 1.0)
) -> Float[Tensor, "*n 4"]:
    """The boxes that `encode` made these deltas of. A side is at most 62.5 times its anchor's."""
    centre_a, side_a = _centre_and_side(anchors)
    centre = deltas[..., :2] / scale[0] * side_a + centre_a
    half = (deltas[..., 2:] / scale[1]).clamp(max=_MOST).exp() * side_a / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def distances(places: Float[Tensor, "*n 4"], squares: Float[Tensor, "*_n 4"]) -> Float[Tensor, "*n 4"]:
    """From the centre of each square to the box's left, top, right and bottom, in sides of the square.

    FCOS, eq. 1, in strides as in its sec. 3.3's normalised targets.
    """
    centre, side = _centre_and_side(squares)
    return torch.cat([centre - places[..., :2], places[..., 2:] - centre], dim=-1) / side.repeat_interleave(2, dim=-1)


def from_distances(offsets: Float[Tensor, "*n 4"], squares: Float[Tensor, "*_n 4"]) -> Float[Tensor, "*n 4"]:
    """The boxes that `distances` were measured to."""
    centre, side = _centre_and_side(squares)
    return torch.cat([centre - offsets[..., :2] * side, centre + offsets[..., 2:] * side], dim=-1)


def _centre_and_side(places: Tensor) -> tuple[Tensor, Tensor]:
    low, high = places[..., :2], places[..., 2:]
    return (low + high) / 2, high - low
