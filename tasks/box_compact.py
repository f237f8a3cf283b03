"""A narrower detector, taught by the one that it may replace; and the same network from boxes alone."""

import dataclasses
from pathlib import Path

import pyarrow as pa

from tasks.box_training import every_box, train_detector
from tasks.params import Params
from tasks.training import NOTE
from tutelage.data.manifest import read_split
from tutelage.data.pseudo_boxes import read_boxes_of
from tutelage.types import BadInput


def box_compact(split: Path, teacher: Path, labels: Path, *, params: Params, out: Path) -> Path:
    """Train the network of detection.compress: model.safetensors, curve.csv.

    OUT named `student`: from given boxes and the pool, with what the teacher answers in every step; LABELS are the
    pool's boxes, where its features count. OUT named `baseline`: from given boxes alone.
    """
    table, wanted = read_split(split), params.detection.compress
    network = dataclasses.replace(params.detection.network, **wanted.network)
    match out.name:
        case "student":
            model = teacher / "model.safetensors"
            job = every_box("box_compact@student", wanted.student, network, split, table, teacher=model)
            ids = table["id"].take(pa.array(job.pool)).to_pylist()
            job = dataclasses.replace(job, pseudo=read_boxes_of(labels, ids))
        case "baseline":
            job = every_box("box_compact@baseline", wanted.baseline, network, split, table)
        case _:
            raise BadInput(f"{out} names no compact detector: write work/detection/compact/student or baseline")
    return train_detector(job, table, params, out, notes={NOTE: ["labelled", "holdout"]})
