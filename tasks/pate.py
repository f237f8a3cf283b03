"""Labels that tell next to nothing of the private images that they come from."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.training import rows_of, teacher_of
from tutelage.data.images import Images
from tutelage.data.manifest import TRUTH, classes_of, read_split, read_truth, write_split
from tutelage.models.committee import members_of
from tutelage.train.pate import noisy_labels, spent, votes
from tutelage.train.predict import predict
from tutelage.types import BadInput


def pate(split: Path, committee: Path, *, params: Params, out: Path) -> Path:
    """Split and a committee of disjoint shares -> a split without private images, truth.parquet, pate.json.

    In it the labelled images are `pate.queries` of the pool, with what the committee's noisy vote calls them; other
    images of the pool and the test stay. Any stage that trains may have it for its SPLIT. Noise follows from `seed`:
    whoever knows the seed can take it off, so keep it to yourself.
    """
    wanted, table, hidden = params.pate, read_split(split), read_truth(split)
    network, card = teacher_of(committee / "model.safetensors", classes_of(table))
    about = committee / "committee.json"
    if not about.exists() or not read_json(about)["disjoint"]:
        raise BadInput(f"{committee} is no committee of disjoint shares. Set committee.disjoint: true and train it")
    pool, rng = rows_of(table, "pool"), np.random.default_rng(params.seed)
    if len(pool) < wanted.queries:
        raise BadInput(f"pate.queries is {wanted.queries}, and the pool has {len(pool)} images. Ask for fewer")
    asked, images = np.sort(rng.choice(pool, wanted.queries, replace=False)), Images.open(table, card.image_size)
    answers = [
        predict(member, images, asked, compute=params.compute, batch=params.evaluate.batch).argmax(1)
        for member in members_of(network)
    ]
    counts = votes(np.stack(answers), len(card.classes))
    labels = noisy_labels(counts, scale=wanted.scale, rng=rng)
    public = _public(table, asked, labels)
    left = {name: label for name, label in hidden.items() if name in _names(public, "pool")}
    known = [(label, hidden[name]) for name, label in zip(table["id"].take(pa.array(asked)).to_pylist(), labels,
             strict=True) if name in hidden]  # fmt: skip
    told = {
        "teachers": card.members, "queries": wanted.queries, "scale": wanted.scale, "delta": wanted.delta,
        "epsilon": {name: value if math.isfinite(value) else None
                    for name, value in spent(counts, scale=wanted.scale, delta=wanted.delta)._asdict().items()},
        "right": float(np.mean([ours == theirs for ours, theirs in known])) if known else None,
    }  # fmt: skip
    with whole(out) as folder:
        write_split(folder, public, pa.table({"id": list(left), "label": list(left.values())}, schema=TRUTH))
        write_json(folder / "pate.json", told)
    print(f"pate: {wanted.queries} labels of {card.members} teachers, epsilon {told['epsilon']}", flush=True)
    return out


def _public(table: pa.Table, asked: np.ndarray, labels: np.ndarray) -> pa.Table:
    """Pool and test, those that were asked about being the labelled images."""
    roles, known = np.array(table["role"].to_pylist(), object), table["label"].to_pylist()
    private = np.isin(roles, ("labelled", "holdout"))
    roles[asked] = "labelled"
    for row, label in zip(asked, labels, strict=True):
        known[row] = int(label)
    for name, values in (("role", pa.array(list(roles), pa.string())), ("label", pa.array(known, pa.int32()))):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table.filter(pa.array(~private))


def _names(table: pa.Table, role: str) -> set[str]:
    return set(table["id"].take(pa.array(rows_of(table, role))).to_pylist())
