"""Detectors trained on given boxes alone: the teacher, the fair baseline, the oracle."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.box_training import BoxJob, every_box, train_detector
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.training import NOTE
from tutelage.data.manifest import read_split
from tutelage.data.scenes import Annotations, read_boxes, read_known
from tutelage.types import BadInput

ROLES = {
    "teacher": ("labelled",),
    "baseline": ("labelled", "holdout"),
    "oracle": ("labelled", "holdout", "pool"),
}  # whose boxes each learns from


def detector(split: Path, *, params: Params, out: Path) -> Path:
    """Train the detector that `out` names: model.safetensors, curve.csv.

    `teacher` leaves the hold-out for its calibration; `baseline`, what a student must beat, has every box there is, for
    it needs none; `oracle` has the pool's hidden boxes too, and unavailable.json where there are none or none is asked.
    """
    table = read_split(split)
    if out.name not in ROLES:
        raise BadInput(f"{out} names no detector: write work/detection/teacher, baseline or oracle")
    job = detector_job(out.name, split, table, params)
    if isinstance(job, str):
        with whole(out) as folder:
            write_json(folder / "unavailable.json", {"reason": job})
        return out
    return train_detector(job, table, params, out, notes={NOTE: list(ROLES[out.name])})


def detector_job(name: str, split: Path, table: pa.Table, params: Params) -> BoxJob | str:
    """What the detector of that name is trained on; of an oracle that there is none for, why."""
    train = getattr(params.detection, name)
    if train is None:
        return f"detection.{name} is null"
    given = tuple(role for role in ROLES[name] if role != "pool")
    job = every_box(name, train, params.detection.network, split, table, roles=given)
    if "pool" not in ROLES[name]:
        return job
    known = job.pool[_known(table, job.pool, split)]
    if not len(known):
        return "the pool has no hidden boxes"
    every = pa.concat_tables([read_boxes(split), read_boxes(split, "truth.parquet")])
    return dataclasses.replace(
        job, annotations=Annotations.of(table, every), labeled=np.sort(np.concatenate([job.labeled, known]))
    )


def _known(table: pa.Table, pool: np.ndarray, split: Path) -> np.ndarray:
    """Which images of the pool have hidden boxes, or are known to have none [m]."""
    known = set(read_known(split))
    return np.array([name in known for name in table["id"].take(pa.array(pool)).to_pylist()], bool)
