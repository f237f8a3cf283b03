"""Whether images that have arrived still look like those that production learned from."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.drift import Seen, compared, content_of, report_of, some
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.promote import SEEN
from tasks.training import rows_of
from tutelage.data.manifest import read_split, write_split
from tutelage.models.files import load_model
from tutelage.train.predict import predict

FEW = 20  # images of each side below which nothing is compared


def watch(split: Path, model: Path, champion: Path, *, params: Params, out: Path) -> Path:
    """Split, a model that has not learned from its pool, registry/champion -> drift.json, report.md, split.parquet.

    The part of the pool that production learned from is compared with what has arrived since; no label is read.
    drift.json names the candidate of `adapt` that answers, null where nothing fires. In split.parquet the pool is then
    what has arrived: what a round of adaptation adapts to.
    """
    table = read_split(split)
    pool = rows_of(table, "pool")
    fresh = _arrived(table, pool, champion)
    known = pool[~np.isin(pool, fresh)]
    content, report = _nothing(champion, *(len(some(table, rows, len(rows), params)) for rows in (fresh, known)))
    if not content:
        before, new = (rows[some(table, rows, params.adapt.drift.window, params)] for rows in (known, fresh))
        content, report = _look(table, before, new, model, params)
    answer = params.adapt.answers.get(content["kind"])
    parted = table if answer is None else table.take(pa.array(np.setdiff1d(np.arange(table.num_rows), known)))
    with whole(out) as folder:
        write_json(folder / "drift.json", {**content, "images": len(fresh), "answer": answer})
        write_split(folder, parted)
        (folder / "report.md").write_text(report)
    print(f"watch: {len(fresh)} new images, drift: {content['kind']}")
    return out


def _arrived(table: pa.Table, pool: np.ndarray, champion: Path) -> np.ndarray:
    """Rows of the pool that production has not learned from; none where that is not known."""
    path = champion / SEEN
    if not path.exists():
        return pool[:0]
    there = table["sha256"].take(pa.array(pool))
    learned = pc.is_in(there, value_set=pq.read_table(path)["sha256"])
    return np.asarray(pool[~learned.to_numpy()])


def _nothing(champion: Path, fresh: int, known: int) -> tuple[dict[str, Any], str]:
    """What is said where there is nothing to compare; {} where there is."""
    why = ""
    if not (champion / SEEN).exists():
        why = f"Nothing in {champion} says which images production learned from, so none are new."
    elif min(fresh, known) < FEW:
        why = f"{fresh} images are new and {known} known: {FEW} of each are compared at least."
    content = {"kind": "none", "advice": why, "tests": [], "again": [], "mix": {}} if why else {}
    return content, f"# Drift\n\n{why}\n"


def _look(
    table: pa.Table, before: np.ndarray, new: np.ndarray, model: Path, params: Params
) -> tuple[dict[str, Any], str]:
    """Classes of the known images are those that the model says: nobody has labelled them."""
    network, card = load_model(model / "model.safetensors")
    seen = Seen(table, network, card, params)
    said = predict(network, seen.images, before, compute=params.compute, batch=params.evaluate.batch)
    found = compared(seen, before, said.argmax(axis=1), seen, new)
    return content_of(found, card), report_of({"new images": found}, card)
