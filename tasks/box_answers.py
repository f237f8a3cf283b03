"""What a detector finds in images of a split, and the file that keeps it: found.parquet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from tasks.box_training import sizes_of
from tasks.training import rows_of
from tutelage.data.boxes import Found, Given, known_of, looked_for, unmarked
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.data.orientations import Orientation
from tutelage.data.pseudo_boxes import SCHEMA, by_people, by_row, chosen, flat
from tutelage.data.pseudo_labels import read_shards
from tutelage.data.scenes import Annotations, read_boxes
from tutelage.models.files import DetectorCard
from tutelage.train.detect import detect
from tutelage.train.settings import Compute
from tutelage.types import BadInput, Detector

FOUND = pa.schema(
    [
        ("id", pa.string()),
        ("places", pa.list_(pa.float32())),  # x1 y1 x2 y2 of each box in turn, pixels of the original image
        ("labels", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float32())),
    ]
)


People = dict[int, tuple[Given, Bool[np.ndarray, " c"]]]  # what a person marked, and the classes that were looked for


@dataclass(frozen=True)
class Marked:
    """Images that play a role in a split, with what a person marked in them."""

    rows: np.ndarray  # of the split [n]
    ids: list[str]
    given: list[Given]


def marked(split: Path, table: pa.Table, role: str) -> Marked:
    """Images of `role` in the order of the split. BadInput for none."""
    rows, boxes = rows_of(table, role), Annotations.of(table, read_boxes(split))
    if not len(rows):
        way_out = {
            "test": "detection.ingest.test",
            "holdout": "detection.split.holdout, or another detection.calibrate.rule",
        }.get(role, "detection.ingest")
        raise BadInput(f"the split has no {role} image, so nothing can be measured. Set {way_out}")
    return Marked(rows, table["id"].take(pa.array(rows)).to_pylist(), [boxes[int(row)] for row in rows])


def searched(images: Marked, table: pa.Table) -> Bool[np.ndarray, "n c"]:
    """The classes that somebody looked for in each image."""
    sizes, classes = sizes_of(table)[images.rows].tolist(), len(classes_of(table))
    known = [looked_for(given, wide, high, classes) for given, (wide, high) in zip(images.given, sizes, strict=True)]
    return np.array(known, bool).reshape(-1, classes)


def people_of(split: Path, table: pa.Table, pool: np.ndarray) -> People:
    """Of images of `pool` (box_training.pool_rows) that are labelled ones, by row."""
    boxes, classes = Annotations.of(table, read_boxes(split)), len(classes_of(table))
    own = np.setdiff1d(pool, rows_of(table, "pool"))
    sizes = zip(own.tolist(), sizes_of(table)[own].tolist(), strict=True)
    return {row: known_of(boxes[row], width, height, classes) for row, (width, height) in sizes}


def beside(found: Sequence[Found], rows: np.ndarray, people: People) -> list[Found]:
    """What was found in `rows`, without what people have said all about."""
    return [unmarked(one, *people[row]) if row in people else one for one, row in zip(found, rows, strict=True)]


def find(
    table: pa.Table, rows: np.ndarray, network: Detector, card: DetectorCard, *, compute: Compute, batch: int,
    ways: Sequence[Orientation] = (Orientation(),),
) -> list[Found]:  # fmt: skip
    """What `network` finds in `rows`, looking at each image in all `ways`.

    BadInput where the split has other classes than it was trained on.
    """
    [found] = find_each(table, [rows], network, card, compute=compute, batch=batch, ways=ways)
    return found


def find_each(
    table: pa.Table, parts: Sequence[np.ndarray], network: Detector, card: DetectorCard, *, compute: Compute,
    batch: int, ways: Sequence[Orientation] = (Orientation(),),
) -> Iterator[list[Found]]:  # fmt: skip
    """What `find` gives for each of `parts` of rows, in turn. Batches never cross a part.

    The table is opened once for all parts, which takes time for each of its rows.
    """
    if card.classes != classes_of(table):
        raise BadInput(
            f"the detector knows the classes {card.classes}, the split {classes_of(table)}. Train it again on it"
        )
    images = Images.open(table, card.image_size, cache_bytes=0, letterbox=True)  # each is read once
    chunks = [[rows[first : first + batch] for first in range(0, len(rows), batch)] for rows in parts]
    stream = detect(network, images, list(chain(*chunks)), sizes_of(table), compute=compute, ways=ways)
    for mine in chunks:
        yield [found for some in islice(stream, len(mine)) for found in some]


def write_found(folder: Path, ids: list[str], found: Sequence[Found], name: str = "found.parquet") -> None:
    columns = {
        "id": ids,
        "places": [one.places.reshape(-1).astype(np.float32) for one in found],
        "labels": [one.labels.astype(np.int32) for one in found],
        "scores": [one.scores.astype(np.float32) for one in found],
    }
    pq.write_table(pa.table(columns, schema=FOUND), folder / name, compression="zstd")


def read_found(folder: Path, name: str = "found.parquet") -> tuple[list[str], list[Found]]:
    """Ids of images and what was found in each. BadInput where the evaluation had no model."""
    path = folder / name
    if not path.exists():
        raise BadInput(f"{path} does not exist: {folder} evaluated no detector. Its metrics.json says why")
    table = pq.read_table(path)
    places, ends = flat(table["places"], np.float32)
    rest = (by_row(*flat(table[name], kind)) for name, kind in (("labels", np.int64), ("scores", np.float32)))
    found = [Found(*one) for one in zip(by_row(places.reshape(-1, 4), ends // 4), *rest, strict=True)]
    return table["id"].to_pylist(), found


def read_store(labels: Path) -> pa.Table:
    """All rows of a store of pseudo-boxes, in the order of the pool. BadInput where its manifest says another."""
    names = ["id", "boxes", "labels", "calibrated", "kept", "searched"]
    return pa.concat_tables([SCHEMA.empty_table().select(names), *read_shards(labels, names)])


def kept_boxes(store: pa.Table, *, people: bool = True) -> list[Found]:
    """The kept boxes of each row of a store, with their calibrated scores; `people`: those of people among them."""
    kept, ends = chosen(store["kept"], but=None if people else by_people(store))
    kinds = {"boxes": np.float32, "labels": np.int64, "calibrated": np.float32}
    columns = [by_row(flat(store[name], kind)[0][kept], ends) for name, kind in kinds.items()]
    return [Found(*one) for one in zip(*columns, strict=True)]
