"""The pool's images whose boxes people are asked to correct."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.asked import BOXES, SUGGESTED, check_unanswered
from tasks.asking import by_chance, chosen, copies, tell, unlabelled, write_sheet
from tasks.box_answers import find_each
from tasks.box_calibrate import scale_of
from tasks.box_label import rules_of
from tasks.box_training import sizes_of
from tasks.io import whole
from tasks.params import Params
from tasks.progress import Progress
from tutelage.data.boxes import Found
from tutelage.data.coco_file import as_text, categories
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.models.files import DetectorCard, load_detector
from tutelage.types import Detector

MIDDLE = 0.5  # the score at which a box may as well be none, without a calibration
SHOWN = 0.5  # times that from which a box is a suggestion: one that is none is sooner deleted than one drawn
SIDE = 16  # pixels of the thumbnails by which near-copies are known
EMPTY = 1.0  # the margin of an image without a box
Rules = dict[str, Any] | None


def box_ask(split: Path, model: Path, calibration: Path | None = None, *, params: Params, out: Path) -> Path:
    """Split, a detector's folder and, where there is one, its calibration -> the images of the pool whose boxes would
    teach most: images/ (copies), ask.json (COCO, with the detector's boxes as suggestions), suggested.json (the
    same), asked.json.

    An image is as undecided as its least decided box, whose score is nearest to its class's threshold (0.5 without a
    calibration). Near-copies, by their pixels, and images of one group are asked about once. `ask` in params.yaml says
    how many, and whether by margin or by chance. CVAT, Label Studio and pycocotools open ask.json; corrected under the
    same name, `python -m tasks answer OUT` takes it in.
    """
    check_unanswered(out)
    table = read_split(split)
    network, card = load_detector(model / "model.safetensors")
    rules: Rules = None
    if calibration is not None:
        rules = rules_of(model, card, calibration, params)
    pool, notes = unlabelled(table, hides="detection.split.images", names="detection.ingest.pool")
    rows = _rows(table, pool, network, card, rules, params)
    found = [each for part in _found(table, rows, network, card, rules, params, "box_ask again") for each in part]
    with whole(out) as folder:
        _write(folder, table.take(pa.array(rows)), found, card.classes, _limits(rules, card))
    what = f"Correct the boxes of {out / BOXES} and save it there, without images that nobody looked at"
    tell("box_ask", notes, len(rows), len(pool), what, out)
    return out


def _rows(
    table: pa.Table, pool: np.ndarray, network: Detector, card: DetectorCard, rules: Rules, params: Params
) -> np.ndarray:  # fmt: skip
    """The images to ask about, the most important first."""
    wanted, limits = params.ask, _limits(rules, card)
    if wanted.by == "random":
        return by_chance(pool, wanted, params.seed)
    parts = _found(table, pool, network, card, rules, params, "box_ask")
    margins = np.array([_margin(one, limits) for part in parts for one in part])
    small = Images.open(table, SIDE, cache_bytes=0)

    def embed(places: np.ndarray) -> np.ndarray:
        return small.many(pool[places]).reshape(len(places), -1).astype(np.float32)

    places = chosen(table, pool, margins, embed, wanted=wanted, groups=params.detection.split.groups)
    rows: np.ndarray = pool[places]
    return rows


def _found(
    table: pa.Table, rows: np.ndarray, network: Detector, card: DetectorCard, rules: Rules, params: Params, name: str
) -> Iterator[list[Found]]:  # fmt: skip
    """The boxes of some images at a time, with calibrated scores."""
    step, ways = params.detection.label.shard_size, params.detection.ways
    parts = [rows[first : first + step] for first in range(0, len(rows), step)]
    said = find_each(table, parts, network, card, compute=params.compute, batch=params.detection.label.batch, ways=ways)
    with Progress(name, len(rows)) as bar:
        for seen in said:
            yield seen if rules is None else [one._replace(scores=scale_of(rules)(one.scores)) for one in seen]
            bar.update(len(seen))


def _limits(rules: Rules, card: DetectorCard) -> np.ndarray:
    """The score of each class at which a box may as well be none."""
    if rules is None:
        return np.full(len(card.classes), MIDDLE)
    return np.array([MIDDLE if row["threshold"] is None else row["threshold"] for row in rules["classes"]])


def _margin(found: Found, limits: np.ndarray) -> float:
    return float(np.abs(found.scores - limits[found.labels]).min(initial=EMPTY))


def _write(folder: Path, some: pa.Table, found: list[Found], classes: list[str], limits: np.ndarray) -> None:
    names = list(copies(folder / "images", Images.open(some, SIDE, 0)))
    images = [
        {"id": number, "file_name": name, "width": int(wide), "height": int(high)}
        for number, (name, (wide, high)) in enumerate(zip(names, sizes_of(some), strict=True), start=1)
    ]
    suggested = [
        (number, place, int(label), float(score))
        for number, one in enumerate(found, start=1)
        for place, label, score in zip(*one, strict=True)
        if score >= SHOWN * limits[label]
    ]
    annotations = [_annotation(number, *one) for number, one in enumerate(suggested, start=1)]
    sheet = as_text({"images": images, "annotations": annotations, "categories": categories(classes)})
    (folder / SUGGESTED).write_text(sheet)
    write_sheet(folder, BOXES, sheet.encode(), [f"images/{name}" for name in names], some, classes)


def _annotation(number: int, image: int, place: np.ndarray, label: int, score: float) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(value), 2) for value in place)
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number, "image_id": image, "category_id": label + 1, "bbox": [x1, y1, width, height],
        "area": round(width * height, 2), "iscrowd": 0, "score": round(score, 4),
    }  # fmt: skip
