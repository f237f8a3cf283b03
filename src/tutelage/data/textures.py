"""Backgrounds that no camera saw: a field of 0..1 for each kind, coloured by two colours and lit from a side."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from jaxtyping import Float

Field = Float[np.ndarray, "size size"]
Kind = Callable[[int, np.random.Generator], Field]


def texture(size: int, kinds: Mapping[str, Kind], rng: np.random.Generator) -> Float[np.ndarray, "size size 3"]:
    """A background, RGB in 0..1, of one of the kinds."""
    field = kinds[sorted(kinds)[rng.integers(len(kinds))]](size, rng)
    field = field + rng.uniform(0.1, 0.35) * (noise(size, rng) - 0.5)
    first = rng.uniform(0.15, 0.85) + rng.normal(0, 0.12, 3)  # near grey: the loud colours are the garments'
    second = first + rng.uniform(-0.35, 0.35) + rng.normal(0, 0.08, 3)
    light = 1 + rng.uniform(0.05, 0.3) * (gradient(size, rng) - 0.5)
    mixed: np.ndarray = np.clip((first + (second - first) * field[..., None]) * light[..., None], 0, 1)
    return mixed


def noise(size: int, rng: np.random.Generator) -> Field:
    """Octaves of smooth noise, the fine ones fainter."""
    field, weight, persistence = np.zeros((size, size)), 1.0, rng.uniform(0.4, 0.8)
    for cells in (2, 4, 8, 16, 32):
        field += weight * cv2.resize(rng.random((cells, cells)), (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= persistence
    return _stretched(field)


def gradient(size: int, rng: np.random.Generator) -> Field:
    """Even from one side to the other."""
    return _stretched(_along(size, rng.uniform(0, 2 * np.pi)))


def stripes(size: int, rng: np.random.Generator) -> Field:
    """Bands with soft edges."""
    waves = np.sin(2 * np.pi * rng.uniform(3, 12) * _along(size, rng.uniform(0, np.pi)))
    return _soft(waves, rng.uniform(1, 8))


def checks(size: int, rng: np.random.Generator) -> Field:
    """A chessboard, turned."""
    angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 8)
    one, two = (np.sin(2 * np.pi * waves * _along(size, angle + turn)) for turn in (0, np.pi / 2))
    return _soft(one * two, rng.uniform(4, 12))


def dots(size: int, rng: np.random.Generator) -> Field:
    """Spots in rows, turned."""
    angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 10)
    one, two = (np.cos(2 * np.pi * waves * _along(size, angle + turn)) for turn in (0, np.pi / 2))
    return _soft(one + two - rng.uniform(0.6, 1.2), rng.uniform(3, 10))


def grain(size: int, rng: np.random.Generator) -> Field:
    """Bands bent by noise, as in wood or marble."""
    bent = _along(size, rng.uniform(0, np.pi)) + rng.uniform(0.1, 0.4) * noise(size, rng)
    bands: np.ndarray = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(4, 10) * bent)
    return bands


def bricks(size: int, rng: np.random.Generator) -> Field:
    """Rows of stones, each row shifted by half a stone, each stone with a shade of its own."""
    rows = int(rng.integers(5, 12))
    y, x = np.mgrid[:size, :size] * (rows / size)
    row = np.floor(y).astype(int)
    along = x / 2 + 0.5 * (row % 2)
    stone = np.floor(along).astype(int)
    gap = np.maximum(np.abs(along % 1 - 0.5), np.abs(y % 1 - 0.5)) > 0.5 - rng.uniform(0.04, 0.09)
    wall: np.ndarray = np.where(gap, 0.0, rng.uniform(0.5, 1.0, (rows + 1, rows + 1))[row, stone])
    return wall


def rings(size: int, rng: np.random.Generator) -> Field:
    """Circles around one point, as of a tree or of water."""
    y, x = np.mgrid[:size, :size] / size - rng.uniform(-0.2, 1.2, 2)[:, None, None]
    distance = np.hypot(x, y) + rng.uniform(0, 0.1) * noise(size, rng)
    return _soft(np.sin(2 * np.pi * rng.uniform(4, 14) * distance), rng.uniform(1, 6))


def cells(size: int, rng: np.random.Generator) -> Field:
    """Each point has the shade of the nearest of some seeds (Voronoi), as of gravel."""
    seeds = rng.uniform(0, size, (int(rng.integers(12, 50)), 2))
    y, x = np.mgrid[:size, :size]
    nearest = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    shades: np.ndarray = rng.random(len(seeds))[nearest]
    return shades


def plaid(size: int, rng: np.random.Generator) -> Field:
    """Bands that cross."""
    return _stretched(stripes(size, rng) + stripes(size, rng))


SOURCE = {
    "noise": noise, "gradient": gradient, "stripes": stripes, "checks": checks, "dots": dots, "grain": grain,
}  # fmt: skip
TARGET = {"bricks": bricks, "rings": rings, "cells": cells, "plaid": plaid}


def _along(size: int, angle: float) -> Field:
    """Place along a direction, in sides of the image."""
    y, x = np.mgrid[:size, :size] / size
    along: np.ndarray = np.cos(angle) * x + np.sin(angle) * y
    return along


def _soft(waves: Field, sharpness: float) -> Field:
    field: np.ndarray = 0.5 + 0.5 * np.tanh(sharpness * waves)
    return field


def _stretched(field: Field) -> Field:
    low, high = field.min(), field.max()
    stretched: np.ndarray = (field - low) / max(high - low, 1e-9)
    return stretched
