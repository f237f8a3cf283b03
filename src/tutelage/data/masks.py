"""Masks of objects as COCO's run lengths. Nothing reaches pycocotools, which is C, before it was checked here."""

from typing import Any, TypeGuard

import numpy as np
import pycocotools.mask
from jaxtyping import Bool, Int

_POINTS = 3  # of a polygon, at least
_LARGE = 1e15


class Malformed(Exception):
    """A segmentation that is none; the message says why."""


def encode(mask: Bool[np.ndarray, "h w"]) -> str:
    """Compressed run lengths, the `counts` of COCO."""
    counts: bytes = pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    return counts.decode()


def decode(counts: str, width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The mask of compressed run lengths. Raises Malformed where they are not of this size."""
    flat = np.zeros(width * height, bool)
    for start, stop in runs(counts, width, height).tolist():
        flat[start:stop] = True
    mask: np.ndarray = flat.reshape(width, height).T  # COCO counts column by column
    return mask


def runs(counts: str, width: int, height: int) -> Int[np.ndarray, "k 2"]:
    """Where the mask's pixels begin and end in an image of [width, height], flat: column by column, as COCO counts.

    Raises Malformed where they are not of this size.
    """
    lengths = _unpacked(counts)  # pycocotools.mask.decode warns under numpy 2
    _check_sum(lengths, width, height)
    ends = np.cumsum(lengths, dtype=np.int64)[: len(lengths) // 2 * 2]  # of gap, run, gap, run
    return ends.reshape(-1, 2)


def area(counts: str, width: int, height: int) -> float:
    """Pixels of the mask."""
    return float(pycocotools.mask.area({"size": [height, width], "counts": counts.encode()}))


def bounds(counts: str, width: int, height: int) -> tuple[float, float, float, float]:
    """The box around the mask: x, y, width, height."""
    x, y, w, h = pycocotools.mask.toBbox({"size": [height, width], "counts": counts.encode()})
    return float(x), float(y), float(w), float(h)


def to_counts(segmentation: Any, width: int, height: int) -> str:
    """Compressed run lengths of whatever form COCO allows: polygons, or run lengths, compressed or not.

    Raises Malformed for anything else, and for what does not belong to an image of this size.
    """
    if isinstance(segmentation, dict):
        return _runs(segmentation, width, height)
    if not isinstance(segmentation, list):
        raise Malformed("is neither polygons nor run lengths")
    polygons = segmentation if segmentation and isinstance(segmentation[0], list) else [segmentation]
    for polygon in polygons:
        _check_polygon(polygon, width, height)
    parts = pycocotools.mask.frPyObjects([[float(v) for v in polygon] for polygon in polygons], height, width)
    counts: bytes = pycocotools.mask.merge(parts)["counts"]
    return counts.decode()


def is_number(value: Any) -> TypeGuard[float]:
    """Whether JSON gave a number that can be computed with: no NaN, no infinity, no integer of a hundred digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGE


def _runs(segmentation: dict[str, Any], width: int, height: int) -> str:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise Malformed(f"is of size {size} (height, width), the image of [{height}, {width}]")
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and not isinstance(run, bool) for run in runs):
        raise Malformed("has counts that are no run lengths")
    _check_sum(runs, width, height)
    packed: bytes = pycocotools.mask.frPyObjects({"size": size, "counts": runs}, height, width)["counts"]
    return packed.decode()


def _unpacked(text: str) -> list[int]:
    """Run lengths from COCO's string: base 32, lowest digits first, from the third run on the difference to the run
    before the last. pycocotools would read beyond the end of a string that was cut."""
    runs: list[int] = []
    value, shift = 0, 0
    for letter in text:
        digit = ord(letter) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise Malformed("has counts that are no run lengths")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:  # more digits follow
            continue
        if digit & 16:  # negative
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise Malformed("has counts that end too early")
    return runs


def _check_sum(runs: list[int], width: int, height: int) -> None:
    if min(runs, default=0) < 0 or sum(runs) != width * height:
        raise Malformed(f"has run lengths that do not add up to the image's {width * height} pixels")


def _check_polygon(polygon: Any, width: int, height: int) -> None:
    if not isinstance(polygon, list) or not all(is_number(value) for value in polygon):
        raise Malformed("has a polygon of something else than finite numbers")
    if len(polygon) < 2 * _POINTS or len(polygon) % 2:
        raise Malformed(f"has a polygon of {len(polygon)} numbers; it takes x, y of at least {_POINTS} points")
    # pycocotools walks every pixel of an edge, so a point far away would take all memory.
    away = max(max(-x, x - width) for x in polygon[::2]), max(max(-y, y - height) for y in polygon[1::2])
    if away[0] > width or away[1] > height:
        raise Malformed(f"has a polygon that leads {max(away):g} pixels out of the image")
