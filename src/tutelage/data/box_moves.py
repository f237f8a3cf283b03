"""Boxes that move along with the pixels. Affine matrices map x, y, 1 in pixels, 0 being the left edge of pixel 0.

Methods move boxes under autocast, where a product is in bfloat16: at 512 pixels to the nearest two or four.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.precision import full_precision
from tutelage.types import Boxes


def moved(
    places: Float[Tensor, "k 4"], matrix: Float[Tensor, "2 3"], size: int
) -> tuple[Float[Tensor, "k 4"], Float[Tensor, " k"]]:
    """The upright hulls of moved boxes, cut to a square of side `size`, and the share of each hull that is inside.

    After a rotation a hull is larger than its object: nothing in a box says where in it the object lies.
    """
    corners = torch.stack([places[:, [0, 2, 2, 0]], places[:, [1, 1, 3, 3]]], dim=-1)
    with full_precision(corners):
        there = corners @ matrix[:, :2].T + matrix[:, 2]
    hull = torch.cat([there.amin(1), there.amax(1)], dim=-1)
    cut = hull.clamp(0, size)
    return cut, areas(cut) / areas(hull).clamp_min(torch.finfo(hull.dtype).tiny)


def areas(places: Float[Tensor, "k 4"]) -> Float[Tensor, " k"]:
    """Of each box, in square pixels."""
    return (places[:, 2:] - places[:, :2]).prod(-1)


def large_enough(places: Float[Tensor, "k 4"]) -> Bool[Tensor, " k"]:
    """Boxes whose sides are a pixel or more: less is nothing that a network could find."""
    return (places[:, 2:] - places[:, :2] >= 1).all(-1)


def clear_share(clear: Bool[Tensor, "s s"], places: Float[Tensor, "k 4"]) -> Float[Tensor, " k"]:
    """Share of the pixels under each box that are clear. The boxes lie in the square."""
    sums = F.pad(clear.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    low, high = (side.long().clamp(0, len(clear)) for side in (places[:, :2].floor(), places[:, 2:].ceil()))
    (left, top), (right, bottom) = low.T, high.T
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return inside / (high - low).prod(-1).clamp(min=1)


def move_boxes(
    boxes: Boxes, matrix: Float[Tensor, "2 3"], clear: Bool[Tensor, "s s"], *, visible: Float[Tensor, ""] | float
) -> Boxes:
    """Boxes of one view in another one, of which the pixels that are `clear` show the scene.

    What lies outside is dropped. A box of which less than `visible` is inside and clear keeps its place and loses its
    weight: a detector then takes it neither for an object nor for background.
    """
    places, share = moved(boxes.places, matrix.to(boxes.places.dtype), len(clear))
    trust = share * clear_share(clear, places) >= visible
    seen = Boxes(places, boxes.labels, boxes.weight * trust, boxes.place_weight * trust)
    return chosen(seen, large_enough(places))


def chosen(boxes: Boxes, keep: Tensor) -> Boxes:
    """Some of the boxes, by a mask or by their numbers."""
    return Boxes(*(field[keep] for field in boxes))


def no_boxes() -> Boxes:
    """An image without objects."""
    none = torch.zeros(0)
    return Boxes(none.reshape(0, 4), none.long(), none, none)


def inverse(matrix: Float[Tensor, "*n 2 3"]) -> Float[Tensor, "*n 2 3"]:
    """The way back."""
    turned = matrix[..., :2].inverse()
    with full_precision(turned):
        return torch.cat([turned, -turned @ matrix[..., 2:]], dim=-1)


def one_after_another(first: Float[Tensor, "*n 2 3"], second: Float[Tensor, "*n 2 3"]) -> Float[Tensor, "*n 2 3"]:
    """The matrix of doing `first` and then `second`."""
    with full_precision(first):
        turned = second[..., :2] @ first
    return torch.cat([turned[..., :2], turned[..., 2:] + second[..., 2:]], dim=-1)
