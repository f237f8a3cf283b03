"""Detectors trained on given boxes alone: the teacher, the fair baseline, the oracle."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.box_training import every_box, train_detector
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.training import NOTE, rows_of
from tutelage.data.manifest import read_split
from tutelage.data.scenes import Annotations, read_boxes, read_known
from tutelage.types import BadInput


def detector(split: Path, *, params: Params, out: Path) -> Path:
    """Train the detector that `out` names: model.safetensors, curve.csv.

    `teacher` leaves the hold-out for its calibration; `baseline`, what a student must beat, has every box there is, for
    it needs none; `oracle` has the pool's hidden boxes too, and unavailable.json where there are none or none is asked.
    """
    table, wanted, roles = read_split(split), params.detection, ["labelled", "holdout"]
    match out.name:
        case "teacher":
            roles = ["labelled"]
            job = every_box("teacher", wanted.teacher, wanted.network, split, table, roles=tuple(roles))
        case "baseline":
            job = every_box("baseline", wanted.baseline, wanted.network, split, table)
        case "oracle":
            known = rows_of(table, "pool")[_known(table, split)]
            if wanted.oracle is None or not len(known):
                reason = "detection.oracle is null" if wanted.oracle is None else "the pool has no hidden boxes"
                with whole(out) as folder:
                    write_json(folder / "unavailable.json", {"reason": reason})
                return out
            roles = [*roles, "pool"]
            job = every_box("oracle", wanted.oracle, wanted.network, split, table)
            every = pa.concat_tables([read_boxes(split), read_boxes(split, "truth.parquet")])
            job = dataclasses.replace(
                job, annotations=Annotations.of(table, every), labeled=np.sort(np.concatenate([job.labeled, known]))
            )
        case _:
            raise BadInput(f"{out} names no detector: write work/detection/teacher, baseline or oracle")
    return train_detector(job, table, params, out, notes={NOTE: roles})


def _known(table: pa.Table, split: Path) -> np.ndarray:
    """Which images of the pool have hidden boxes, or are known to have none [m]."""
    known = set(read_known(split))
    return np.array([name in known for name in table["id"].take(pa.array(rows_of(table, "pool"))).to_pylist()], bool)
