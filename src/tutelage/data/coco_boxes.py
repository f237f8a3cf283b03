"""Where the objects of a COCO JSON lie in the images that were decoded."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data import masks
from tutelage.data.coco import Annotation, Coco
from tutelage.data.masks import Malformed, is_number, to_counts
from tutelage.data.records import Examined, Refusal
from tutelage.data.scenes import BOXES

_SLACK = 0.01  # pixels by which rounding may lead a box out of its image without a word
_WIDER = 1.01  # times its box that an object's area may be by rounding

Size = tuple[int, int]  # width, height


def wrong_sizes(coco: Coco, examined: Iterable[Examined]) -> list[Refusal]:
    """Images whose file has another size than the JSON says: their boxes may be of another size, too."""
    refused = []
    for image in examined:
        listed, real = coco.images[image.found.id], (image.width, image.height)
        if listed.size is not None and listed.size != real:
            turned = "; it may have been turned" if listed.size == real[::-1] else ""
            said = f"{' and '.join(listed.files)} {'say' if len(listed.files) > 1 else 'says'}"
            detail = (
                f"{said} {listed.size[0]} x {listed.size[1]}, the file has {real[0]} x {real[1]} pixels{turned}; "
                "correct the JSON, if the boxes are of the file's size"
            )
            refused.append(Refusal(image.found.id, "wrong_size", detail))
    return refused


def box_table(coco: Coco, sizes: Mapping[str, Size]) -> pa.Table:
    """The objects (BOXES) of the images in `sizes`, by image, then in the JSON's order.

    What is mended goes to `coco.repairs`, what is left out to `coco.refused`.
    """
    by_image: dict[str, list[Annotation]] = defaultdict(list)
    for annotation in coco.annotations:
        if annotation.image in sizes:
            by_image[annotation.image].append(annotation)
    rows: list[dict[str, Any]] = []
    for image in sorted(by_image):
        seen: dict[tuple[Any, ...], str] = {}
        for annotation in by_image[image]:
            row = row_of(coco, annotation, sizes[image])
            if row is None:
                continue
            what = (row["label"], row["crowd"], row["x1"], row["y1"], row["x2"], row["y2"])
            if what in seen:
                coco.repair(f"{annotation.where} is {seen[what]} again, the same class in the same place; one is kept")
            else:
                seen[what] = annotation.where
                rows.append(row)
    return pa.Table.from_pylist(rows, schema=BOXES)


def row_of(coco: Coco, annotation: Annotation, size: Size) -> dict[str, Any] | None:
    """An object as a row of BOXES, or None where it is left out; told as by `box_table`."""
    mask = _mask(coco, annotation, size)
    corners = _corners(coco, annotation, mask, size)
    if corners is None:
        coco.doubtful.add(annotation.image)
        return None
    x1, y1, x2, y2 = (float(value) for value in corners)
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    area = _area(coco, annotation, mask, size, (x2 - x1) * (y2 - y1))
    return {
        "id": annotation.image,
        "label": annotation.label,
        "crowd": annotation.crowd,
        "area": area,
        "mask": mask,
    } | places


def _mask(coco: Coco, annotation: Annotation, size: Size) -> str:
    """Run lengths, or "" where there is no mask that can be used."""
    if annotation.segmentation in (None, [], {}, [[]], ""):
        return ""
    try:
        counts = to_counts(annotation.segmentation, *size)
    except Malformed as error:
        coco.repair(f"{annotation.where} in {annotation.image}: its segmentation {error}; it is left out")
        return ""
    if masks.area(counts, *size) == 0:
        coco.repair(f"{annotation.where} in {annotation.image}: its segmentation covers no pixel; it is left out")
        return ""
    return counts


def _corners(coco: Coco, annotation: Annotation, mask: str, size: Size) -> np.ndarray | None:
    """x1 y1 x2 y2 within the image, or None where there is no box."""
    name = f"{annotation.where} in {annotation.image}"
    problem = _box_problem(annotation.bbox)
    if problem and not mask:
        coco.refuse(f"{name}: {problem}. Draw it again or remove it")
        return None
    if problem:
        coco.repair(f"{name}: {problem}; the one around its mask is taken")
    x, y, w, h = masks.bounds(mask, *size) if problem else annotation.bbox
    written = np.array([x, y, x + w, y + h], np.float64)
    clipped = np.clip(written, 0, [*size, *size]).astype(np.float32)
    sides = clipped[2:] - clipped[:2]
    if not sides.prod() > 0:
        why = f"lies outside of the {size[0]} x {size[1]} image"
        if sides.min() > 0:  # sides of 1e-38 have a product of zero
            why = "has no area"
        coco.refuse(f"{name}: its box {list(annotation.bbox)} {why}. Remove it")
        return None
    away = np.abs(written - clipped).max()
    if away > max(_SLACK, 1e-6 * max(size)):
        coco.repair(f"{name}: its box {list(annotation.bbox)} leads {away:.4g} pixels out of the image; it is clipped")
    return clipped


def _box_problem(bbox: Any) -> str:
    if bbox is None or bbox == []:
        return "it has no box"
    if not is_box(bbox):
        return f"its box {repr(bbox)[:60]} is not x, y, width, height in finite numbers"
    x, y, w, h = np.array(bbox, np.float64).astype(np.float32)
    if not (x + w > x and y + h > y):
        return f"its box {bbox} has no area"
    return ""


def is_box(bbox: Any) -> bool:
    """Whether it is four finite numbers."""
    return isinstance(bbox, list) and len(bbox) == 4 and all(is_number(value) for value in bbox)


def _area(coco: Coco, annotation: Annotation, mask: str, size: Size, box: float) -> float:
    """As written where that is possible; else the mask's, else the box's."""
    measured = masks.area(mask, *size) if mask else box
    if annotation.area is None:
        return measured
    if is_number(annotation.area) and 0 < annotation.area <= _WIDER * box + 1:
        return float(annotation.area)
    coco.repair(
        f"{annotation.where} in {annotation.image}: an area of {annotation.area!r} is impossible; {measured:g} is taken"
    )
    return measured
