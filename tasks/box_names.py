"""The pool's boxes, named anew."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.box_crops import SKIPPED
from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.student import round_of
from tasks.text import percent
from tasks.text import table as markdown
from tasks.training import every_label, labels_of, rows_of, run
from tutelage.data.crops import NOTHING
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.pseudo_boxes import SCHEMA, renamed, write_manifest
from tutelage.data.pseudo_labels import read_shards, shard_name, store_of
from tutelage.metrics.classification import softmax
from tutelage.models.files import load_model
from tutelage.train.predict import logits, looks
from tutelage.types import BadInput


def box_names(labels: Path, crops: Path, *, params: Params, out: Path) -> Path:
    """Pseudo-boxes and crops -> the same boxes with the names that a classifier of crops gives them: shards, manifest.

    The classifier is trained first, on the crops (model.safetensors, curve.csv). A box that it takes for nothing is
    kept no longer; the weight of the others is how sure it is. Where detection.names is null, all stay as they are.
    """
    wanted = params.detection.names
    if wanted is None:
        with whole(out) as folder:
            shutil.copytree(labels, folder, dirs_exist_ok=True)
        return out
    if (crops / SKIPPED).exists():
        raise BadInput(f"{crops} was made without detection.names. Run `dvc repro` to cut the objects out")
    table = read_split(crops)
    own = dataclasses.replace(params, network=wanted.network, views=wanted.views, optimiser=wanted.optimiser)
    job = every_label(f"box_names@{round_of(out)}", wanted.train, wanted.network, table, roles=("labelled",))
    return run(job, table, own, out, finish=lambda folder: _name(folder, labels, table, own))


def _name(folder: Path, labels: Path, table: pa.Table, params: Params) -> None:
    """Ask the classifier in `folder` for all crops of the pool and of the hold-out, and write what it says there."""
    network, card = load_model(folder / "model.safetensors")
    images, pool, held = Images.open(table, card.image_size), rows_of(table, "pool"), rows_of(table, "holdout")
    batch, views = params.evaluate.batch, looks(2 if params.views.flip else 1, flip=params.views.flip)

    def ask(rows: np.ndarray) -> Iterator[np.ndarray]:
        """One crop's probabilities after the other: a pool has millions of crops."""
        chunks = [rows[first : first + batch] for first in range(0, len(rows), batch)]
        for said in logits(network, images, chunks, compute=params.compute, views=views):
            yield from softmax(said).astype(np.float32)

    before, answers = store_of(labels), ask(pool)
    names = (name.as_py() for name in table["id"].take(pa.array(pool)))
    for number, shard in enumerate(read_shards(labels, SCHEMA.names)):
        pq.write_table(renamed(shard, names, answers), folder / shard_name(number))
    write_manifest(folder, classes_of(table)[:-1], teacher=before["teacher"], number=before["round"])
    named = np.array([said.argmax() for said in ask(held)])
    right = float((named == labels_of(table, held)).mean()) if len(held) else None
    write_json(folder / "names.json", {"holdout_accuracy": right, "holdout": len(held), "boxes": len(pool)})
    (folder / "report.md").write_text(_markdown(before, read_json(folder / "manifest.json"), right, len(held)))


def _markdown(before: dict[str, Any], after: dict[str, Any], right: float | None, held: int) -> str:
    rows = [
        [name, before["per_class"][name]["kept"], after["per_class"][name]["kept"]]
        for name in sorted(after["per_class"])
    ]
    checked = f" Of {held} crops of the hold-out it names {percent(right)} rightly." if right is not None else ""
    return (
        f"# Names of boxes\n\nA classifier of crops names the {before['kept']} boxes that the detector keeps; "
        f"{before['kept'] - after['kept']} are {NOTHING} to it and are kept no longer.{checked}\n\n"
        + markdown(["class", "by the detector", "by the classifier"], rows)
        + "\n"
    )
