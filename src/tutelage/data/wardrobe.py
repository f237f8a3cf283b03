"""Scenes made of pictures of single garments, with everything known: boxes, masks, classes and depth.

A garment hangs at a depth and looks as large as that makes it, so that size tells of depth and the nearer hides the
farther. What is annotated is what can be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16
from scipy import ndimage

from tutelage.data import weather
from tutelage.data.textures import SOURCE, TARGET, texture

VISIBLE = 0.25  # share of a garment that must be seen; with less it is not hung up
_METRES = 0.6  # distance at which a garment fills the picture's side: 1 / scale times it, in metres
_FAR = (5.0, 8.0)  # distance of the background, metres
_BLACK, _EDGE, _DARK = 3, 24, 0.3  # grey levels above the photographs' black; a dark garment's edge is darker: a share
_HOLE = 0.02  # of the picture: larger holes are seen through, as under the handle of a bag
_SMOOTH = 0.5  # pixels: the outline is drawn without its steps, and a strap of one pixel stays
_PLACES = 4  # tried for a garment before the scene goes without it

Domain = Literal["", "night", "fog"]


@dataclass(frozen=True)
class Garment:
    """One object cut out of its picture."""

    shade: Float[np.ndarray, "g g"]  # 0..1, continued beyond the outline
    outline: Float[np.ndarray, "g g"]  # 1 inside, 0 outside
    label: int


@dataclass(frozen=True)
class Scene:
    pixels: UInt8[np.ndarray, "size size 3"]
    depth: UInt16[np.ndarray, "size size"]  # millimetres
    masks: Bool[np.ndarray, "k size size"]  # what is seen of each object, nearest first
    labels: list[int]


def cut_out(picture: UInt8[np.ndarray, "g g"], label: int) -> Garment:
    """A garment from its picture on black: all that is not black, small holes filled, specks left out."""
    lit = picture[picture > _BLACK]
    inside = picture > min(_EDGE, _DARK * np.percentile(lit, 90) if len(lit) else _EDGE)
    holes = ndimage.binary_fill_holes(inside) & ~inside
    inside |= holes & ~_of_size(holes, _HOLE * picture.size)
    inside = _of_size(inside, 0.1 * inside.sum())  # a sandal falls into parts; a speck is dust
    light = picture / max(float(np.percentile(picture[inside], 98)) if inside.any() else 1.0, 1.0)
    core = ndimage.binary_erosion(inside)
    bright = inside & (core | (ndimage.maximum_filter(light * core, 3) <= light))  # not darkened by the black beside it
    nearest = ndimage.distance_transform_edt(~bright, return_distances=False, return_indices=True)
    outline = ndimage.gaussian_filter(inside.astype(np.float64), _SMOOTH)
    return Garment(np.clip(light[tuple(nearest)], 0, 1), outline, label)


def compose_scene(
    garments: Sequence[Garment],
    size: int,
    rng: np.random.Generator,
    *,
    scales: tuple[float, float],
    domain: Domain = "",
) -> Scene:
    """A scene of at most these garments, each `scales` (lowest, highest) as wide as the picture.

    `domain`: "" for daylight, or "night" or "fog", which also have other backgrounds and a poor sensor.
    """
    pixels, through, far = np.zeros((size, size, 3)), np.ones((size, size)), _far(size, rng)
    depth, distance, masks, labels = far, np.zeros((size, size)), [], []  # as annotated; with soft edges, as seen
    taken = np.zeros((size, size), bool)
    for scale, garment in zip(_nearest_first(len(garments), scales, rng), garments, strict=True):
        found = _place(garment, scale, taken, rng)
        if found is None:
            continue
        place, seen = found
        alpha = through * _layer(garment.outline, place, size, edge=scale * size / len(garment.outline))
        pixels += alpha[..., None] * _cloth(garment, place, size, rng)
        through = through - alpha
        distance += alpha * _METRES / scale
        depth = np.where(seen, _METRES / scale, depth)
        masks.append(seen)
        labels.append(garment.label)
        taken |= seen
    pixels += through[..., None] * texture(size, TARGET if domain else SOURCE, rng)
    if domain == "night":
        pixels = weather.sensor(weather.night(pixels, rng), rng)
    elif domain == "fog":
        pixels = weather.sensor(weather.fog(pixels, distance + through * far, rng), rng)
    bytes_, millimetres = np.round(pixels * 255).clip(0, 255), np.round(depth * 1000)
    stacked = np.stack(masks) if masks else np.zeros((0, size, size), bool)
    return Scene(bytes_.astype(np.uint8), millimetres.astype(np.uint16), stacked, labels)


def _nearest_first(number: int, scales: tuple[float, float], rng: np.random.Generator) -> Float[np.ndarray, " k"]:
    """Even on a logarithmic scale, so that small is as frequent as large."""
    low, high = np.log(scales)
    return np.sort(np.exp(rng.uniform(low, high, number)))[::-1]


def _place(
    garment: Garment, scale: float, taken: Bool[np.ndarray, "size size"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "2 3"], Bool[np.ndarray, "size size"]] | None:
    """An affine map from the garment's picture into the scene where enough of it is seen, and what is seen."""
    size, own = len(taken), len(garment.outline)
    zoom = scale * size / own
    for _ in range(_PLACES):
        angle, mirror = rng.normal(0, np.radians(10)), rng.choice((-1, 1))
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * (mirror, 1)
        centre = rng.uniform(0.3 * scale, 1 - 0.3 * scale, 2) * size
        place = np.column_stack([turn, centre - turn @ np.full(2, (own - 1) / 2)])
        seen = (_layer(garment.outline, place, size, edge=zoom) > 0.5) & ~taken
        if seen.sum() >= VISIBLE * zoom**2 * garment.outline.sum() and seen.any():
            return place, seen
    return None


def _cloth(
    garment: Garment, place: Float[np.ndarray, "2 3"], size: int, rng: np.random.Generator
) -> Float[np.ndarray, "size size 3"]:
    """A dye that keeps the garment's light and shade."""
    hue, saturation, value = rng.uniform(0, 360), rng.uniform(0.15, 0.9), rng.uniform(0.5, 1)
    dye = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
    shade = _layer(garment.shade, place, size)[..., None]
    cloth: np.ndarray = dye * (0.2 + 0.8 * shade)
    return cloth


def _layer(
    values: Float[np.ndarray, "g g"], place: Float[np.ndarray, "2 3"], size: int, *, edge: float = 0
) -> Float[np.ndarray, "size size"]:
    """Moved into the scene. With `edge`, its magnification, an outline is as sharp however large it is drawn."""
    border = cv2.BORDER_CONSTANT if edge else cv2.BORDER_REPLICATE
    moved = cv2.warpAffine(values, place, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    layer: np.ndarray = np.clip((moved - 0.5) * max(edge, 1) + 0.5, 0, 1) if edge else moved
    return layer


def _far(size: int, rng: np.random.Generator) -> Float[np.ndarray, "size size"]:
    """A wall, farther at its top, metres."""
    wall = rng.uniform(*_FAR) + np.linspace(rng.uniform(0, 1), 0, size)
    return np.repeat(wall[:, None], size, axis=1)


def _of_size(mask: Bool[np.ndarray, "g g"], least: float) -> Bool[np.ndarray, "g g"]:
    """The parts of a mask that have more than `least` pixels."""
    parts, number = ndimage.label(mask, np.ones((3, 3)))
    large = np.bincount(parts.ravel(), minlength=number + 1) > least
    large[0] = False
    kept: np.ndarray = large[parts]
    return kept
