"""Weak and strong views of a whole batch at once, on whatever device it lies: `views.by: batch`.

All that moves pixels is one matrix an image, carried out for the batch on the device. What changes their values is a
table of 256 or a matrix of colours, applied by the loader's process. Albumentations asks each image what is to be
done with it, which takes six times as long and is what a fast device waits for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tutelage.data.orientations import Orientation, change_of
from tutelage.data.views import Views

GEOMETRY = ("rotate", "shear", "scale")
QUARTERS = np.stack([change_of(Orientation(quarters=turns)) for turns in range(4)]).astype(np.float32)
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_GREY = _YIQ[0]  # how bright a colour is
OPERATIONS = (*GEOMETRY, "contrast", "posterize", "solarize", "equalize", "gamma", "sharpen")  # as in views.py


class Planned(NamedTuple):
    """Images whose brightness is changed already, and where their pixels are to go: `carried_out` makes the views."""

    images: UInt8[Tensor, "n 3 h w"]
    moves: Float[Tensor, "n 2 3"]  # from places in the view to places in the image, both in -1..1
    holes: Float[Tensor, "n 4"]  # y0 x0 y1 x1 in pixels, cut out last


def planned(images: UInt8[np.ndarray, "n 3 h w"], views: Views, key: Sequence[int], *, strong: bool) -> Planned:
    """A view of each image, which depends on `key` and the image's place alone. What is done: see views.py.

    Unlike there, operations of one view are done in a fixed order, brightness before geometry, and other hues are a
    rotation of the chroma, so that any other colour is one matrix.
    """
    random, n, size = np.random.default_rng(key), len(images), images.shape[-1]
    moves, holes = _flips_and_shifts(random, views, n, size), np.zeros((n, 4), np.float32)
    if strong:
        images = _recoloured(images, views, random)
        drawn = random.random((n, len(OPERATIONS))).argsort(1)[:, : views.operations]
        for number, name in enumerate(OPERATIONS):
            mine = np.flatnonzero((drawn == number).any(1))
            if name in GEOMETRY:
                moves[mine, :, :2] = moves[mine, :, :2] @ _geometry(name, random, views.magnitude, len(mine))
            elif name == "sharpen":
                _sharpen(images, mine, random)
            else:
                tables = _tables(name, random, views.magnitude, images[mine])
                for place, table in zip(mine, tables, strict=True):
                    images[place] = table[images[place]]
        holes = _holes(random, views, n, size)
    return Planned(*(torch.from_numpy(part) for part in (images, moves, holes)))


def carried_out(plan: Planned) -> Float[Tensor, "n 3 h w"]:
    """The views, 0..1, on the device of the plan."""
    n, channels, height, width = plan.images.shape
    x = plan.images.float().div_(255)
    if not n:
        return x
    grid = F.affine_grid(plan.moves, [n, channels, height, width], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)
    y0, x0, y1, x1 = plan.holes.view(n, 4, 1).unbind(1)
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    in_rows, in_columns = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    return x.masked_fill_((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def _flips_and_shifts(random: np.random.Generator, views: Views, n: int, size: int) -> Float[np.ndarray, "n 2 3"]:
    moves = np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1))
    if views.flip:
        moves[:, 0, 0] = np.where(random.random(n) < 0.5, -1, 1)
    if views.turn:
        moves[:, :, :2] = moves[:, :, :2] @ QUARTERS[random.integers(4, size=n)]
    far = views.crop_padding
    moves[:, :, 2] = random.integers(-far, far + 1, (n, 2)) * 2 / size
    return moves


def _recoloured(
    images: UInt8[np.ndarray, "n 3 h w"], views: Views, random: np.random.Generator
) -> UInt8[np.ndarray, "n 3 h w"]:
    """A copy, in which four of five images have another brightness, contrast, saturation and hue; `grey` no colour."""
    images, n = images.copy(order="K"), len(images)
    low, high = max(0.0, 1 - 0.4 * views.colour), 1 + 0.4 * views.colour
    light, contrast, saturation = random.uniform(low, high, (3, n))
    turns = random.uniform(-0.1, 0.1, n) * views.colour
    changed, without = random.random(n) < 0.8 * (views.colour > 0), random.random(n) < views.grey
    for place in np.flatnonzero(changed | without):
        pixels, colours, middle = np.ascontiguousarray(images[place].transpose(1, 2, 0)), np.eye(3), 0.0
        if changed[place]:
            colours = light[place] * contrast[place] * _other_colours(saturation[place], turns[place])
            middle = light[place] * (1 - contrast[place]) * float(_GREY @ pixels.mean((0, 1)))
        if without[place]:
            colours = np.outer(np.ones(3), _GREY) @ colours
        images[place] = cv2.transform(pixels, np.column_stack([colours, np.full(3, middle)])).transpose(2, 0, 1)
    return images


def _other_colours(saturation: float, turn: float) -> Float[np.ndarray, "3 3"]:
    """What a colour is multiplied by: its chroma turned by `turn` of a circle (in YIQ), then drawn from its grey."""
    c, s = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    hue = np.linalg.inv(_YIQ) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ _YIQ
    colours: np.ndarray = (saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _GREY)) @ hue
    return colours


def _geometry(name: str, random: np.random.Generator, m: float, n: int) -> Float[np.ndarray, "n 2 2"]:
    changes = np.tile(np.eye(2, dtype=np.float32), (n, 1, 1))
    if name == "rotate":
        angle = np.radians(random.uniform(-30 * m, 30 * m, n))
        changes[:, 0, 0] = changes[:, 1, 1] = np.cos(angle)
        changes[:, 1, 0] = np.sin(angle)
        changes[:, 0, 1] = -changes[:, 1, 0]
    elif name == "shear":
        changes[:, [0, 1], [1, 0]] = np.tan(np.radians(random.uniform(-17 * m, 17 * m, (n, 2))))
    else:
        changes /= random.uniform(max(0.4, 1 - 0.3 * m), 1 + 0.3 * m, n)[:, None, None]
    return changes


def _tables(
    name: str, random: np.random.Generator, m: float, images: UInt8[np.ndarray, "n 3 h w"]
) -> UInt8[np.ndarray, "n 256"]:
    """What an operation makes of each value of a pixel, for each of these images."""
    n, levels = len(images), np.arange(256)
    if name == "contrast":
        light = min(0.9, 0.4 * m)
        factor, brighter = random.uniform(-light, light, (2, n, 1))
        changed = levels * (1 + factor) + 255 * brighter
    elif name == "posterize":
        changed = levels & ~((1 << (8 - random.integers(2, 7, (n, 1)))) - 1)
    elif name == "solarize":
        changed = np.where(levels >= 255 * random.uniform(0.5, 0.95, (n, 1)), 255 - levels, levels)
    elif name == "gamma":
        changed = 255 * (levels / 255) ** random.uniform(0.5, 1.8, (n, 1))
    else:
        changed = np.array([_equalising(image) for image in images]).reshape(n, 256)
    tables: np.ndarray = np.clip(changed, 0, 255).astype(np.uint8)
    return tables


def _equalising(image: UInt8[np.ndarray, "3 h w"]) -> Float[np.ndarray, " 256"]:
    """The table after which all values of an image are about equally frequent, counted over its channels together."""
    filled = np.bincount(image.ravel(), minlength=256).cumsum()
    darkest = filled[filled > 0][0]
    table: np.ndarray = np.round(255 * (filled - darkest) / max(1, filled[-1] - darkest))
    return table


def _sharpen(images: UInt8[np.ndarray, "n 3 h w"], mine: Int[np.ndarray, " k"], random: np.random.Generator) -> None:
    """In place. A share of what a pixel is more than its eight neighbours, as A.Sharpen by default."""
    shares, lightness = random.uniform(0.2, 0.5, len(mine)), random.uniform(0.5, 1.0, len(mine))
    for place, share, light in zip(mine, shares, lightness, strict=True):
        kernel = np.full((3, 3), -share)
        kernel[1, 1] = 1 - share + share * (8 + light)
        images[place] = cv2.filter2D(np.ascontiguousarray(images[place].transpose(1, 2, 0)), -1, kernel).transpose(
            2, 0, 1
        )


def _holes(random: np.random.Generator, views: Views, n: int, size: int) -> Float[np.ndarray, "n 4"]:
    sides = (random.uniform(min(0.2, views.cutout), views.cutout, (n, 2)) * size).astype(int)
    corner = (random.random((n, 2)) * (size - sides + 1)).astype(int)
    cut = random.random((n, 1)) < (views.cutout_chance if views.cutout else 0.0)
    holes: Int[np.ndarray, "n 4"] = np.concatenate([corner, corner + sides], 1) * cut
    return holes.astype(np.float32)
