"""The ways in which a square picture can lie: as it is or mirrored, turned by quarters."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.box_moves import inverse, moved


class Orientation(NamedTuple):
    """First mirrored left-right, then turned."""

    mirrored: bool = False
    quarters: int = 0  # counter-clockwise


def orientations(*, mirror: bool, turn: bool) -> list[Orientation]:
    """As it is first; with `mirror` 2 of them, with `turn` 4, with both 8."""
    ways = [(mirrored, quarters) for quarters in range(4 if turn else 1) for mirrored in ([False, True][: 1 + mirror])]
    return [Orientation(*way) for way in ways]


def oriented(images: Float[Tensor, "*n s s"], way: Orientation) -> Float[Tensor, "*n s s"]:
    """Pictures that lie this way."""
    return (images.flip(-1) if way.mirrored else images).rot90(way.quarters, (-2, -1))


def change_of(way: Orientation) -> Float[np.ndarray, "2 2"]:
    """Where a pixel's x and y from the middle of the picture go."""
    turn = np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), way.quarters)
    return turn @ np.diag([-1.0 if way.mirrored else 1.0, 1.0])


def upright(places: Float[Tensor, "k 4"], way: Orientation, size: int) -> Float[Tensor, "k 4"]:
    """Boxes of a picture of side `size` that lies this way, in the picture as it is."""
    middle, change = np.full(2, size / 2), change_of(way)
    there = torch.from_numpy(np.column_stack([change, middle - change @ middle]))
    return moved(places, inverse(there).to(places), size)[0]
