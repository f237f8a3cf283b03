"""Boxes in images as numbers: what a person gave, what a detector found. No tensor, no file.

Places are x1 y1 x2 y2 in pixels, x2 and y2 exclusive, so a box of one pixel has sides of length 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Given(NamedTuple):
    """Objects that a person marked in one image."""

    places: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, " k"]
    crowd: Bool[np.ndarray, " k"]  # a group under one box: never trained on, never counted as missed or as an error
    area: Float[np.ndarray, " k"]  # of the object in pixels: of its mask where there is one, else of the box


class Found(NamedTuple):
    """Objects that a detector found in one image, surest first."""

    places: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, " k"]
    scores: Float[np.ndarray, " k"]


def unsearched(given: Given, width: int, height: int) -> Bool[np.ndarray, " k"]:
    """Which of the boxes say that nobody looked for their class: crowds over the whole image, to within a pixel."""
    spare = np.array([0, 0, width, height]) - given.places
    whole: np.ndarray = given.crowd & ((spare * [-1, -1, 1, 1]).max(axis=1, initial=-np.inf) <= 1)
    return whole


def looked_for(given: Given, width: int, height: int, classes: int) -> Bool[np.ndarray, " c"]:
    """The classes that somebody looked for in the image: all but those of `unsearched`."""
    known = np.ones(classes, bool)
    known[given.labels[unsearched(given, width, height)]] = False
    return known


def known_of(given: Given, width: int, height: int, classes: int) -> tuple[Given, Bool[np.ndarray, " c"]]:
    """The boxes that say where something is, and the classes that somebody looked for."""
    placed = ~unsearched(given, width, height)
    return Given(*(part[placed] for part in given)), looked_for(given, width, height, classes)


def objects_an_image(given: Sequence[Given], known: Bool[np.ndarray, "n c"]) -> Float[np.ndarray, " c"]:
    """How many objects of a class, crowds aside, an image has in which it was looked for; 0 where it never was."""
    labels = np.concatenate([one.labels[~one.crowd] for one in given] or [np.zeros(0, np.int64)])
    rate: np.ndarray = np.bincount(labels, minlength=known.shape[1]) / np.maximum(known.sum(axis=0), 1)
    return rate


def overlap(one: Float[np.ndarray, "n 4"], two: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every pair; 0 where both are empty."""
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) for boxes in (one, two)]
    union = areas[0][:, None] + areas[1][None] - shared
    ratio: np.ndarray = shared / np.maximum(union, 1e-12)
    return ratio


def unmarked(found: Found, given: Given, known: Bool[np.ndarray, " c"]) -> Found:
    """What was found that people could not have marked: of classes that nobody looked for, on no object that they
    marked (an overlap of half), for an object is of one class."""
    marked = overlap(found.places, given.places[~given.crowd]).max(axis=1, initial=0.0) >= 0.5
    return Found(*(part[~known[found.labels] & ~marked] for part in found))


def overlap_or_cover(places: Float[np.ndarray, "k 4"], given: Given) -> Float[np.ndarray, "k o"]:
    """Intersection over union with every object; of a crowd, the share of the place that lies on it."""
    one, two = places.astype(np.float64), given.places.astype(np.float64)
    shared = overlap(one, two)
    if given.crowd.any():
        low, high = np.maximum(one[:, None, :2], two[None, :, :2]), np.minimum(one[:, None, 2:], two[None, :, 2:])
        own = np.clip(one[:, 2:] - one[:, :2], 0, None).prod(-1)[:, None]
        cover = np.clip(high - low, 0, None).prod(-1) / np.maximum(own, 1e-12)
        shared = np.where(given.crowd[None], cover, shared)
    return shared
