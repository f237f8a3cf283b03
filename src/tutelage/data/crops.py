"""Single objects cut out of scenes: the images of a classification whose classes are a detector's and one more.

Cheng, Wei, Shi, Feris, Xiong, Huang. Revisiting RCNN: On Awakening the Classification Power of Faster RCNN. ECCV 2018,
sec. 4. https://arxiv.org/abs/1803.06799
"""

import hashlib
import io
import math
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt8

from tutelage.data.boxes import Given, overlap_or_cover
from tutelage.data.manifest import SPLIT, describe, write_split

NOTHING = "(nothing)"  # class of a square without an object
TOUCH = 0.3  # overlap with an object, or share on a crowd, from which on a square is not without it
TRIES = 20  # places where a square without an object is looked for
FINE = 2048  # pixels of a square that are looked at in each direction, or up to twice as many
CHUNK = 4096  # rows
_TAR, _HEADER = "crops.tar", 512  # bytes of a tar before a file's own


class Crop(NamedTuple):
    """One image of the classification."""

    id: str
    role: str  # as in a split
    label: int | None  # None: of the pool
    pixels: UInt8[np.ndarray, "s s 3"]


def cut_out(
    image: UInt8[np.ndarray, "h w 3"], place: Float[np.ndarray, " 4"], size: int, margin: float
) -> UInt8[np.ndarray, "size size 3"]:
    """The square round a box, wider by `margin` of the box's longer side on each side, scaled to `size` pixels.

    `place` is x1 y1 x2 y2 in pixels of the image. What lies beyond the image repeats its edge.
    """
    x1, y1, x2, y2 = (float(side) for side in place)
    side = max(1, round(max(x2 - x1, y2 - y1) * (1 + 2 * margin)))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    height, width = image.shape[:2]
    step = max(1, side // FINE)  # not all pixels of a huge square: they would fill the memory
    rows, columns = (
        np.clip(np.arange(low, low + side, step), 0, end - 1) for low, end in ((top, height), (left, width))
    )
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image[np.ix_(rows, columns)], (size, size), interpolation=how))


def empty_square(
    given: Given, width: int, height: int, side: float, rng: np.random.Generator
) -> Float[np.ndarray, " 4"] | None:
    """A square of `side` pixels in an image that overlaps each object, and lies on each crowd, by less than TOUCH.

    None where none is found.
    """
    side = min(side, width, height)
    for _ in range(TRIES):
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        place = np.array([x, y, x + side, y + side], np.float32)
        if overlap_or_cover(place[None], given).max(initial=0.0) < TOUCH:
            return place
    return None


def empty_each(objects: int, classes: int) -> int:
    """How many squares without an object make that class as frequent as the mean of the others."""
    return math.ceil(objects / max(classes, 1))


def write_crops(folder: Path, crops: Iterable[Crop], classes: Sequence[str], *, root: Path) -> pa.Table:
    """crops.tar and the split of a classification, whose images are read from `root`, where `folder` will lie.

    Equal crops give equal bytes. Crops are written one by one: memory grows by a row of the split a crop.
    """
    with tarfile.open(folder / _TAR, "w", format=tarfile.USTAR_FORMAT) as tar:
        rows = _rows(tar, crops)
        parts = [SPLIT.empty_table()]
        while some := list(islice(rows, CHUNK)):  # as dictionaries millions of them fill the memory
            parts.append(pa.Table.from_pylist(some, schema=SPLIT))
    table = describe(pa.concat_tables(parts), roots={"crops": str(root)}, classes=[*classes, NOTHING])
    write_split(folder, table)
    return table


def _rows(tar: tarfile.TarFile, crops: Iterable[Crop]) -> Iterator[dict[str, str | int | None]]:
    for number, crop in enumerate(crops):
        done, encoded = cv2.imencode(".png", cv2.cvtColor(crop.pixels, cv2.COLOR_RGB2BGR))
        assert done
        data, member = encoded.tobytes(), tarfile.TarInfo(f"{number:08}.png")
        member.size, start = len(data), tar.offset + _HEADER
        tar.addfile(member, io.BytesIO(data))
        tar.members.clear()  # type: ignore[attr-defined]  # it keeps each for readers, of which there are none
        yield {
            "id": crop.id, "source": "crops", "path": _TAR, "offset": start, "length": len(data),
            "sha256": hashlib.sha256(data).hexdigest(), "width": crop.pixels.shape[1],
            "height": crop.pixels.shape[0], "domain": "", "role": crop.role, "label": crop.label,
        }  # fmt: skip
