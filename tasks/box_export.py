"""Pseudo-boxes as COCO JSON, for other programs and for people."""

import os
from pathlib import Path

import pyarrow as pa

from tasks.box_answers import kept_boxes, read_store
from tasks.box_training import pool_rows, sizes_of
from tasks.io import whole
from tasks.params import Params
from tutelage.data.coco_file import write_coco_found
from tutelage.data.manifest import classes_of, read_split, roots_of
from tutelage.data.pseudo_labels import check_ids


def box_export(split: Path, labels: Path, *, params: Params, out: Path) -> Path:
    """Split, pseudo-boxes (rounds/N/labels, or rounds/N/names) -> pseudo_boxes.json (COCO): the kept boxes with their
    calibrated scores.

    An image without a kept box is left out: nobody knows that it is empty. File names are relative to
    `detection.ingest.root`, so in that folder it is a JSON that `detection.ingest.labelled` takes, with
    `labelled_images: null`; of an image in a tar it is the tar's name and the member's, no file. No stage: nothing in
    the DAG depends on it.
    """
    table = read_split(split)
    pool, store = table.take(pa.array(pool_rows(split, table))), read_store(labels)
    check_ids(labels, store["id"].to_pylist(), pool["id"].to_pylist())
    names, sizes = _names(pool, Path(params.detection.ingest.root)), map(tuple, sizes_of(pool).tolist())
    found = [each for each in zip(names, sizes, kept_boxes(store), strict=True) if len(each[2].places)]
    with whole(out) as folder:
        write_coco_found(folder / "pseudo_boxes.json", found, classes_of(table))
    boxes = sum(len(each.places) for _, _, each in found)
    print(f"box_export: {boxes} box(es) in {len(found)} of {len(pool)} image(s) of the pool: {out}/pseudo_boxes.json")
    return out


def _names(table: pa.Table, root: Path) -> list[str]:
    folders = {source: Path(os.path.relpath(folder, root)) for source, folder in roots_of(table).items()}
    return [
        (folders[source] / name).as_posix() for source, _, name in (i.partition("/") for i in table["id"].to_pylist())
    ]
