"""pycocotools, asked about boxes in memory and without its prints."""

import contextlib
import io
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tutelage.data.boxes import Found, Given
from tutelage.types import BadInput


def evaluated(
    given: Sequence[Given], found: Sequence[Found], classes: list[str], *, areas: list[list[float]], limits: list[int],
    overlaps: Float[np.ndarray, " t"],
) -> COCOeval:  # fmt: skip
    """pycocotools after matching n images: for each area (square pixels, low and high) and overlap.

    Of each image and class the surest `max(limits)` boxes are matched. Raises BadInput where the images differ in
    number, a label is no class of the training, or a number is not finite.
    """
    _check(given, found, classes)
    truth = [
        _box(image, place, label, area=area, iscrowd=int(crowd))
        for image, one in enumerate(given)
        for place, label, crowd, area in zip(*(column.tolist() for column in one), strict=True)
    ]
    said = [
        _box(image, place, label, score=value)
        for image, one in enumerate(found)
        for place, label, value in zip(*(column.tolist() for column in one), strict=True)
    ]
    run = COCOeval(_coco(truth, len(given), classes), _coco(said, len(given), classes), "bbox")
    run.params.areaRng, run.params.areaRngLbl = areas, ["all", "small", "medium", "large"][: len(areas)]
    run.params.maxDets, run.params.iouThrs = limits, overlaps
    quietly(run.evaluate)
    return run


def _check(given: Sequence[Given], found: Sequence[Found], classes: list[str]) -> None:
    if len(given) != len(found):
        raise BadInput(f"boxes were found in {len(found)} images, and {len(given)} are given. Detect on the same split")
    for image, (people, detector) in enumerate(zip(given, found, strict=True)):
        for who, labels in (("given", people.labels), ("found", detector.labels)):
            wrong = labels[(labels < 0) | (labels >= len(classes))]
            if len(wrong):
                raise BadInput(
                    f"image {image}: a {who} box has label {wrong[0]}, and the detector was trained on {len(classes)} "
                    f"classes ({', '.join(classes)}). Use the annotations of the same categories"
                )
        if not (np.isfinite(detector.places).all() and np.isfinite(detector.scores).all()):
            raise BadInput(f"image {image}: a found box or its score is not finite. Train with a lower learning rate")


def _box(image: int, place: list[float], label: int, **rest: object) -> dict[str, object]:
    x1, y1, x2, y2 = place
    wide, high = x2 - x1, y2 - y1
    bbox = [x1, y1, wide, high]
    return {"image_id": image + 1, "category_id": label + 1, "bbox": bbox, "area": wide * high, **rest}


def _coco(boxes: list[dict[str, object]], images: int, classes: list[str]) -> COCO:
    """Ids start at 1: COCOeval would call object 0 unmatched."""
    made = COCO()
    made.dataset = {
        "images": [{"id": image + 1} for image in range(images)],
        "categories": [{"id": place + 1, "name": name} for place, name in enumerate(classes)],
        "annotations": [{"id": number, "iscrowd": 0, **box} for number, box in enumerate(boxes, 1)],
    }
    quietly(made.createIndex)
    return made


def quietly(call: Callable[[], object]) -> None:
    """pycocotools prints its progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        call()
