"""Single objects of scenes, cut out."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.box_answers import kept_boxes, read_store
from tasks.box_params import Names
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.student import roles_of, round_of
from tasks.training import rows_of
from tutelage.data.crops import Crop, cut_out, empty_each, empty_square, write_crops
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.scenes import Annotations, read_boxes
from tutelage.types import BadInput

SKIPPED = "skipped.json"


def box_crops(split: Path, labels: Path, *, params: Params, out: Path) -> Path:
    """Scenes and pseudo-boxes -> crops.tar, split.parquet: what a classifier learns the names of objects from.

    Labelled: objects that a person marked, and squares with nothing in them. Pool: the kept pseudo-boxes, in the order
    of the store. Any task of classification reads the folder as a split. Where detection.names is null: skipped.json.
    """
    wanted = params.detection.names
    if wanted is None:
        with whole(out) as folder:
            write_json(folder / SKIPPED, {"reason": "detection.names is null"})
        return out
    table, roles = read_split(split), roles_of(params.detection.rounds[round_of(out)])
    with whole(out) as folder:
        crops = chain(_marked(split, table, roles, wanted, params.seed), _found(table, labels, wanted))
        made = write_crops(folder, crops, classes_of(table), root=out)
    counts = made["role"].value_counts().to_pylist()
    print("box_crops: " + ", ".join(f"{each['counts']} {each['values']}" for each in counts))
    return out


def _marked(split: Path, table: pa.Table, roles: tuple[str, ...], wanted: Names, seed: int) -> Iterator[Crop]:
    """Objects of labelled scenes and of those held out, each image's followed by squares with nothing in them."""
    images, boxes = Images.open(table, wanted.network.image_size, 0), Annotations.of(table, read_boxes(split))
    rows = [int(row) for role in ("labelled", "holdout") for row in rows_of(table, role)]
    given = {row: boxes[row] for row in rows}
    places = {row: each.places[~each.crowd] for row, each in given.items()}
    sides = [side for each in places.values() for side in (each[:, 2:] - each[:, :2]).max(axis=1)]
    if not sides:
        raise BadInput("no labelled scene has an object, so no names can be learned. Set detection.names to null")
    rng, nothing = np.random.default_rng((seed, len(sides))), len(classes_of(table))
    empty = empty_each(len(sides), nothing) / len(rows)
    owed = 0.0
    for row in rows:
        image, name, role = images.original(row), table["id"][row].as_py(), _role(table, row, roles)
        for number, (place, label) in enumerate(zip(places[row], given[row].labels[~given[row].crowd], strict=True)):
            yield Crop(f"{name}#{number}", role, int(label), _cut(image, place, wanted))
        owed += empty
        while owed >= 1:
            owed -= 1
            square = empty_square(given[row], image.shape[1], image.shape[0], float(rng.choice(sides)), rng)
            if square is not None:
                yield Crop(f"{name}#-{int(owed) + 1}", role, nothing, _cut(image, square, wanted))


def _found(table: pa.Table, labels: Path, wanted: Names) -> Iterator[Crop]:
    """The kept pseudo-boxes."""
    store, images = read_store(labels), Images.open(table, wanted.network.image_size, 0)
    rows = {name: row for row, name in enumerate(table["id"].to_pylist())}
    for name, found in zip(store["id"].to_pylist(), kept_boxes(store, people=False), strict=True):
        if len(found.labels):
            image = images.original(rows[name])
            for number, place in enumerate(found.places):
                yield Crop(f"{name}#{number}", "pool", None, _cut(image, place, wanted))


def _cut(image: np.ndarray, place: np.ndarray, wanted: Names) -> np.ndarray:
    return cut_out(image, place, wanted.network.image_size, wanted.margin)


def _role(table: pa.Table, row: int, roles: tuple[str, ...]) -> str:
    own: str = table["role"][row].as_py()
    return "labelled" if own in roles else own
