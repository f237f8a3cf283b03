"""The pool, with boxes."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.box_answers import find
from tasks.box_calibrate import scale_of
from tasks.io import read_json, whole
from tasks.params import Params
from tasks.progress import Progress
from tasks.training import rows_of
from tutelage.data.boxes import Found
from tutelage.data.manifest import read_split
from tutelage.data.pseudo_boxes import SCHEMA, Verdict, to_table, write_manifest
from tutelage.data.pseudo_labels import shard_name, write_shards
from tutelage.models.files import DetectorCard, load_detector
from tutelage.types import BadInput, Detector

UNFINISHED = Path(".tutelage/boxes")


def box_label(split: Path, teacher: Path, calibration: Path, *, params: Params, out: Path) -> Path:
    """Pool, teacher, calibration -> shards (id, boxes, scores, kept or why not, weights), manifest.

    A shard that is finished is never labelled again: a run that was killed goes on with the next one.
    """
    table, rules = read_split(split), read_json(calibration / "calibration.json")
    network, card = load_detector(teacher / "model.safetensors")
    if rules["teacher"] != card.sha256:
        raise BadInput(f"{calibration} was made for another teacher than {teacher}. Run `dvc repro` to calibrate again")
    pool = rows_of(table, "pool")
    scratch = UNFINISHED / _fingerprint(table, card, rules, params)
    scratch.mkdir(parents=True, exist_ok=True)
    number = int(out.parent.name) if out.parent.name.isdigit() else 0
    made = _shards(table, pool, network, card, rules, params, done=scratch, number=number)
    with Progress(f"box_label@{out.parent.name}", len(pool)) as bar:
        for rows in write_shards(scratch, made, schema=SCHEMA):
            bar.update(rows)
    with whole(out) as folder:
        for path in scratch.glob("shard-*.parquet"):
            shutil.copy(path, folder / path.name)
        write_manifest(folder, card.classes, teacher=card.sha256, number=number)
    shutil.rmtree(scratch)
    return out


def judge_boxes(found: Found, rules: dict[str, Any]) -> Verdict:
    """Which boxes of an image reach the threshold of their class."""
    chance = scale_of(rules)(found.scores)
    limits = [row["threshold"] for row in rules["classes"]]
    closed = np.array([limit is None for limit in limits])[found.labels]
    kept = ~closed & (chance >= np.array([np.inf if limit is None else limit for limit in limits])[found.labels])
    reason = np.where(kept, "", np.where(closed, "class_rejected", "below_threshold")).tolist()
    trust = kept.astype(np.float32)
    return Verdict(found, chance, kept, reason, trust, trust, float(kept.any()))


def _shards(
    table: pa.Table, pool: np.ndarray, network: Detector, card: DetectorCard, rules: dict[str, Any], params: Params, *,
    done: Path, number: int,
) -> Iterator[tuple[int, pa.Table]]:  # fmt: skip
    """The shards that are not in `done` yet. Batches never cross a shard: its bytes do not depend on the others."""
    settings = params.detection.label
    for place, first in enumerate(range(0, len(pool), settings.shard_size)):
        if (done / shard_name(place)).exists():
            continue
        rows = pool[first : first + settings.shard_size]
        found = find(table, rows, network, card, compute=params.compute, batch=settings.batch)
        ids = table["id"].take(pa.array(rows)).to_pylist()
        yield place, to_table(ids, [judge_boxes(one, rules) for one in found], teacher=card.sha256, number=number)


def _fingerprint(table: pa.Table, card: DetectorCard, rules: dict[str, Any], params: Params) -> str:
    digest = hashlib.sha256(f"{card.sha256} {rules} {params.detection.label} {params.compute}".encode())
    for name in table["sha256"]:
        digest.update(name.as_py().encode())
    return digest.hexdigest()[:16]
