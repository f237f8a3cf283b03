"""Objects with key points, one an image: pictures on black, or cut out of the images of a COCO JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tutelage.data import masks
from tutelage.data.coco import Annotation, read_coco
from tutelage.data.coco_boxes import row_of
from tutelage.data.decoding import Unusable, examine
from tutelage.data.images import Images
from tutelage.types import BadInput

EXTREMES = ("top", "bottom", "left", "right")
BRIGHT = 40  # of 255, above which a pixel is no background of black
MARGIN = 0.15  # of an object's longer side, left around it where it is cut out


class Posed(NamedTuple):
    """A batch. Places are x, y in pixels; the middle of the first pixel is at 0.5, 0.5."""

    images: UInt8[Tensor, "n 3 s s"] | Float[Tensor, "n 3 s s"]
    points: Float[Tensor, "n j 2"]
    visible: Bool[Tensor, "n j"]


class Found(NamedTuple):
    """An object in an image."""

    pixels: UInt8[np.ndarray, "s s 3"]
    points: Float[np.ndarray, "j 2"]
    visible: Bool[np.ndarray, " j"]
    side: float  # longer one of its box, in pixels


@dataclass(frozen=True)
class Poses:
    """Objects whose key points are known, in memory."""

    objects: Sequence[Found]
    joints: tuple[str, ...]

    def __post_init__(self) -> None:
        if not any(each.visible.any() for each in self.objects):
            raise BadInput(f"none of {len(self.objects)} objects has a visible key point. Mark some, or add images")

    def at(self, rows: Int[np.ndarray, " n"]) -> Posed:
        """As they are."""
        return _batch([self.objects[row] for row in rows])

    def batches(self, size: int, *, start: int, stop: int, seed: int, zoom: float, shift: float) -> Iterator[Posed]:
        """Of steps start..stop-1, each of `size` objects drawn evenly: what a run that was cut would have seen.

        Each is enlarged by up to 1 + `zoom` or made smaller by as much, and moved by up to `shift` of the image.
        """
        for step in range(start, stop):
            rng = np.random.default_rng((seed, step))
            drawn = rng.integers(len(self.objects), size=size)
            factors = (1 + zoom) ** rng.uniform(-1, 1, size)
            shifts = rng.uniform(-shift, shift, (size, 2))
            yield _batch([
                _changed(self.objects[row], factor, move)
                for row, factor, move in zip(drawn, factors, shifts, strict=True)
            ])  # fmt: skip


def extreme_points(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "4 2"]:
    """The topmost, bottommost, leftmost and rightmost pixel of a mask that has some, of several the middle one.

    Zhou, Zhuo, Krähenbühl, Bottom-up Object Detection by Grouping Extreme and Center Points, CVPR 2019.
    https://arxiv.org/abs/1901.08043
    """
    y, x = mask.nonzero()
    ends = ((x, y == y.min()), (x, y == y.max()), (y, x == x.min()), (y, x == x.max()))
    middle = [np.median(across[there]) for across, there in ends]
    places = [(middle[0], y.min()), (middle[1], y.max()), (x.min(), middle[2]), (x.max(), middle[3])]
    return np.array(places, np.float32) + 0.5


def of_pictures(images: Images, rows: Int[np.ndarray, " n"]) -> Poses:
    """The extreme points of what is bright on black; of an image without any none is visible."""
    return Poses([_of_picture(pixels) for pixels in images.many(rows)], EXTREMES)


def of_coco(path: Path, *, size: int, max_pixels: int) -> tuple[Poses, list[str]]:
    """The objects of a COCO JSON, no crowds, cut out and scaled to `size` pixels; what was mended or left out.

    File names are relative to the folder of the JSON. Points are its `keypoints`, x, y, v of each, visible where v is
    above 0; where no object has any, the extreme points of masks. Raises BadInput.
    """
    coco = read_coco(path, folder=path.parent, boundary=path.parent, source="labelled")
    given = [each for each in coco.annotations if not each.crowd]
    numbers = {_count(each) for each in given if each.keypoints is not None}
    if len(numbers) > 1:
        raise BadInput(f"{path}: objects have {sorted(numbers)} key points. Give each equally many, x, y, v of each")
    found = {}
    pixels_of = lru_cache(maxsize=1)(partial(_read, path.parent, max_pixels))
    for place, each in sorted(enumerate(given), key=lambda one: one[1].image):  # so each image is decoded once
        pixels = pixels_of(each.image)
        row = row_of(coco, each, (pixels.shape[1], pixels.shape[0]))
        if row is None:
            continue
        marked = _marked(each, row, pixels.shape[1], pixels.shape[0], joints=max(numbers, default=0))
        if marked is None:
            coco.refuse(f"{each.where} has neither key points nor a mask. Mark it")
        else:
            found[place] = _cut_out(pixels, row, *marked, size)
    joints = tuple(f"point {place + 1}" for place in range(max(numbers))) if numbers else EXTREMES
    return Poses([found[place] for place in sorted(found)], joints), [*coco.repairs, *coco.refused]


def _of_picture(pixels: UInt8[np.ndarray, "s s 3"]) -> Found:
    mask = pixels.max(-1) > BRIGHT
    if not mask.any():
        return Found(pixels, np.zeros((4, 2), np.float32), np.zeros(4, bool), float(len(pixels)))
    points = extreme_points(mask)
    return Found(pixels, points, np.ones(4, bool), float((points.max(0) - points.min(0)).max() + 1))


def _count(annotation: Annotation) -> int:
    written = annotation.keypoints
    if not isinstance(written, list) or not written or len(written) % 3 or not all(map(masks.is_number, written)):
        raise BadInput(f"{annotation.where}: its keypoints {repr(written)[:60]} are not x, y, v of each in numbers")
    return len(written) // 3


def _marked(
    annotation: Annotation, row: dict[str, Any], width: int, height: int, *, joints: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Points in pixels of the image, and which are visible; None where nobody marked any."""
    if annotation.keypoints is not None:
        written = np.array(annotation.keypoints, np.float32).reshape(-1, 3)
        return written[:, :2], written[:, 2] > 0
    if joints or not row["mask"]:
        return None
    return extreme_points(masks.decode(row["mask"], width, height)), np.ones(4, bool)


def _read(folder: Path, max_pixels: int, image: str) -> UInt8[np.ndarray, "h w 3"]:
    path = folder / image.partition("/")[2]
    try:
        return examine(path.read_bytes(), max_pixels=max_pixels)
    except (Unusable, OSError) as error:
        raise BadInput(f"{path} cannot be used: {error}. Mend it, or remove it from the JSON") from error


def _cut_out(pixels: np.ndarray, row: dict[str, Any], points: np.ndarray, visible: np.ndarray, size: int) -> Found:
    corners = np.array([[row["x1"], row["y1"]], [row["x2"], row["y2"]]], np.float32)
    side = float((corners[1] - corners[0]).max())
    factor = size / (side * (1 + 2 * MARGIN))
    return _placed(Found(pixels, points, visible, side), factor, size / 2 - factor * corners.mean(0), size)


def _changed(found: Found, factor: float, shift: Float[np.ndarray, " 2"]) -> Found:
    """Scaled about the middle, and moved by shares of the image."""
    size = len(found.pixels)
    return _placed(found, factor, (0.5 - 0.5 * factor + shift) * size, size)


def _placed(found: Found, factor: float, offset: np.ndarray, size: int) -> Found:
    """A place x becomes factor x + offset; what is outside of the square then is not visible, what is empty black."""
    moved = offset + 0.5 * factor - 0.5  # OpenCV's pixels have their middle at 0
    # Between four pixels nothing of the others is seen: what is made much smaller is blurred before.
    pixels = cv2.GaussianBlur(found.pixels, (0, 0), 0.5 / factor) if factor < 0.5 else found.pixels
    pixels = cv2.warpAffine(pixels, np.column_stack([np.eye(2) * factor, moved]), (size, size), flags=cv2.INTER_LINEAR)
    points = (found.points * factor + offset).astype(np.float32)
    inside = ((points >= 0) & (points < size)).all(-1)
    return Found(pixels.astype(np.uint8), points, found.visible & inside, factor * found.side)


def _batch(objects: Sequence[Found]) -> Posed:
    pixels = torch.from_numpy(np.stack([each.pixels for each in objects])).permute(0, 3, 1, 2)
    points, visible = (torch.from_numpy(np.stack([each[place] for each in objects])) for place in (1, 2))
    return Posed(pixels, points, visible)
