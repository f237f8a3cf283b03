"""Boxes drawn on images, and the pool's images worth a look: what a teacher found, kept and rejected there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from tasks.box_training import pool_rows, sizes_of
from tasks.gallery import Shot, Strip
from tutelage.data.boxes import Found, Given, unsearched
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.data.pseudo_boxes import by_people, by_row, flat
from tutelage.data.scenes import Annotations, read_boxes, read_known
from tutelage.metrics.box_matching import match

COLOURS = {"kept": "#0d9488", "rejected": "#dc2626", "given": "#2563eb", "student": "#d97706"}  # by verdict
REJECTED = 6  # rejected boxes drawn on an image at most, the surest: a detector finds something everywhere
_NEAR = 0.1  # of a threshold
_CROWDED = 10  # boxes; more get their scores only, since names would hide the image
_LETTERS = 10  # pixels


class Mark(NamedTuple):
    """A box to draw."""

    place: Float[np.ndarray, " 4"]  # in pixels of the picture
    verdict: str  # key of COLOURS
    text: str


@dataclass(frozen=True)
class BoxPool:
    """The pool of a split, to draw pictures from."""

    picture: Callable[[int], np.ndarray]  # row -> letterboxed image [side, side, 3], uint8
    side: int
    sizes: Int[np.ndarray, "n 2"]  # width and height of the original images, in which boxes are stored
    classes: list[str]
    truth: dict[int, Given]  # by row, where it is known; may be empty


def pool_of(split: Path, table: pa.Table, *, side: int, hidden: bool) -> BoxPool:
    """Pictures of the pool; `hidden`: with what is known of it, for a report alone."""
    part = table.take(pa.array(pool_rows(split, table)))
    truth: dict[int, Given] = {}
    if hidden:
        known, boxes = set(read_known(split)), Annotations.of(part, read_boxes(split, "truth.parquet"))
        truth = {row: boxes[row] for row, name in enumerate(part["id"].to_pylist()) if name in known}
    images = Images.open(part, side, cache_bytes=0, letterbox=True)
    return BoxPool(images.__getitem__, side, sizes_of(part), classes_of(table), truth)


def drawn(image: UInt8[np.ndarray, "h w 3"], marks: Sequence[Mark]) -> UInt8[np.ndarray, "h w 3"]:
    """The image with boxes on it, and on these their texts, each on its box's colour; later ones lie on top."""
    sheet = Image.fromarray(image)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LETTERS)
    for mark in marks:
        x1, y1, x2, y2 = (float(end) for end in mark.place)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=COLOURS[mark.verdict], width=2)
    for mark in (mark for mark in marks if mark.text):
        x1, y1 = (float(end) for end in mark.place[:2])
        wide = pen.textlength(mark.text, font) + 3
        left = min(max(x1, 0.0), max(0.0, image.shape[1] - wide))
        top = y1 - _LETTERS - 2 if y1 >= _LETTERS + 2 else y1
        pen.rectangle((left, top, left + wide, top + _LETTERS + 2), fill=COLOURS[mark.verdict])
        pen.text((left + 2, top + 1), mark.text, "white", font)
    return np.asarray(sheet)


def strips(pool: BoxPool, labels: pa.Table, opinions: dict[int, Found], number: int) -> list[Strip]:
    """Rows of at most `number` images; rows without any are left out.

    `labels` are a round's pseudo-boxes in the order of the pool (boxes, labels, calibrated, kept), `opinions` what its
    student finds, by row, in some images, above the scores that it would keep. Every row is looked at, so of a large
    pool a sample is enough.
    """
    rows = _rows(labels)
    kept = np.array([row.kept.any() for row in rows], bool)
    top = np.array([row.scores[~row.people].max(initial=0.0) for row in rows])
    sure = np.array([row.scores[row.kept].mean() if row.kept.any() else 0.0 for row in rows])
    wrong = np.array([_mistakes(row, pool.truth.get(i)) for i, row in enumerate(rows)])
    apart = np.array([_differences(row, opinions.get(i)) for i, row in enumerate(rows)])
    near = _to_threshold(rows, len(pool.classes))
    found = [
        ("Surest", "highest mean calibrated score of the kept boxes", kept, -sure, None),
        ("At the threshold", "a box was just kept or just rejected", near < _NEAR, near, None),
        ("Rejected", "boxes were found, and none was kept; surest first", ~kept & (top > 0), -top, None),
        ("Nothing found", "not one box", top == 0, np.zeros(len(rows)), None),
        ("Kept by mistake", "kept boxes that the hidden truth (blue) contradicts", wrong > 0, -wrong, pool.truth),
        ("Student disagrees", "boxes that only the teacher or its student (orange) has", apart > 0, -apart, opinions),
    ]
    made = [
        Strip(title, about, [_shot(pool, rows[i], int(i), other) for i in _first(some, key, number)])
        for title, about, some, key, other in found
    ]
    return [strip for strip in made if strip.shots]


class _Row(NamedTuple):
    places: np.ndarray  # [k, 4], in pixels of the original image
    labels: np.ndarray
    scores: np.ndarray  # calibrated
    kept: np.ndarray  # without those that a person marked
    people: np.ndarray


def _rows(labels: pa.Table) -> list[_Row]:
    kinds = {"boxes": np.float32, "labels": np.int64, "calibrated": np.float32}
    (kept, ends), people = flat(labels["kept"], np.bool_), by_people(labels)
    values = [*(flat(labels[name], kind)[0] for name, kind in kinds.items()), kept & ~people, people]
    return [_Row(*one) for one in zip(*(by_row(each, ends) for each in values), strict=True)]


def _to_threshold(rows: Sequence[_Row], classes: int) -> np.ndarray:
    """How near an image's nearest box is to the threshold of its class, which is seen where kept boxes end."""
    limit = np.full(classes, np.inf)
    for row in rows:
        np.minimum.at(limit, row.labels[row.kept], row.scores[row.kept])
    return np.array([np.abs(row.scores - limit[row.labels])[~row.people].min(initial=np.inf) for row in rows])


def _mistakes(row: _Row, truth: Given | None) -> int:
    if truth is None:
        return 0
    matched = match(truth, Found(row.places[row.kept], row.labels[row.kept], row.scores[row.kept]))
    return int((~matched.right & ~matched.ignored).sum())


def _differences(row: _Row, said: Found | None) -> int:
    """Boxes that only one of two has."""
    if said is None:
        return 0
    kept = row.kept | row.people
    mine = Given(row.places[kept], row.labels[kept], *(np.zeros(kept.sum(), kind) for kind in (bool, np.float32)))
    right = int(match(mine, said).right.sum())
    return len(mine.labels) + len(said.labels) - 2 * right


def _first(some: np.ndarray, key: np.ndarray, number: int) -> np.ndarray:
    places = np.flatnonzero(some)
    return places[key[places].argsort(kind="stable")][:number]


def _shot(pool: BoxPool, row: _Row, place: int, other: dict[int, Given] | dict[int, Found] | None) -> Shot:
    """One image with its boxes, and those of `other` below them."""
    factor = pool.side / int(pool.sizes[place].max())
    marks, truth = [], pool.truth.get(place)
    if other is not None:
        verdict, places = "given" if other is pool.truth else "student", other[place].places
        if truth is not None and other is pool.truth:
            wide, high = pool.sizes[place].tolist()
            places = places[~unsearched(truth, wide, high)]
        marks += [Mark(factor * box, verdict, "") for box in places]
    marks += [Mark(factor * box, "given", "") for box in row.places[row.people]]
    rejected = np.flatnonzero(~row.kept & ~row.people)
    shown = [*rejected[(-row.scores[rejected]).argsort(kind="stable")][:REJECTED], *np.flatnonzero(row.kept)]
    for k in shown:
        text = (
            f"{pool.classes[row.labels[k]]} {row.scores[k]:.2f}" if len(shown) <= _CROWDED else f"{row.scores[k]:.2f}"
        )
        marks.append(Mark(factor * row.places[k], "kept" if row.kept[k] else "rejected", text))
    names, counts = np.unique(row.labels[row.kept], return_counts=True)
    label = ", ".join(f"{count} {pool.classes[name]}" for name, count in zip(names, counts, strict=True))
    notes = [f"{len(rejected)} rejected"] * bool(len(rejected))
    right = None if truth is None or not row.kept.any() else _mistakes(row, truth) == 0
    image = drawn(pool.picture(place), marks)
    return Shot(image, label or "none kept", float(row.scores[~row.people].max(initial=0.0)), right, notes)
