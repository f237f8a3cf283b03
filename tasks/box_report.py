"""The page of a detection run."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.box_evaluate import points
from tasks.box_pictures import BoxPool, strips
from tasks.box_training import sizes_of
from tasks.gallery import sheet
from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.text import percent
from tasks.text import table as markdown
from tasks.training import rows_of
from tutelage.data.boxes import Found, Given, overlap
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.scenes import Annotations, read_boxes, read_known

SIDE = 192  # pixels of a picture


def box_report(work: Path, *, params: Params, out: Path) -> Path:
    """All that a detection run wrote -> summary.md (the three lines), summary.json, gallery.md (boxes on images)."""
    lines = {
        name: read_json(work / "evaluation" / name / "metrics.json") for name in ("baseline", "candidate", "oracle")
    }
    verdict = read_json(work / "judge/verdict.json")
    labels = work / "rounds" / str(params.detection.last) / "labels"
    store = pa.concat_tables([pq.read_table(path) for path in sorted(labels.glob("shard-*.parquet"))])
    table = read_split(work / "split")
    pool, truth = _pool(work / "split", table)
    precision = _precision(store, truth, classes_of(table))
    with whole(out) as folder:
        write_json(folder / "summary.json", {
            name: {key: line[key] for key in ("ap", "ap50")} for name, line in lines.items() if "ap" in line
        } | {"gain": verdict["gain"]["ap"]})  # fmt: skip
        (folder / "summary.md").write_text(_summary(lines, verdict, precision))
        found = strips(pool, store, {}, params.detection.report.gallery)
        (folder / "gallery.md").write_text("\n\n".join(["# Pseudo-boxes", *map(sheet, found)]) + "\n")
    return out


def _pool(split: Path, table: pa.Table) -> tuple[BoxPool, dict[int, Given]]:
    """Pictures of the pool, and what is known of it: for this page alone."""
    rows, known = rows_of(table, "pool"), set(read_known(split))
    part = table.take(pa.array(rows))
    hidden = Annotations.of(part, read_boxes(split, "truth.parquet"))
    truth = {row: hidden[row] for row, name in enumerate(part["id"].to_pylist()) if name in known}
    images = Images.open(part, SIDE, cache_bytes=0, letterbox=True)
    return BoxPool(images.__getitem__, SIDE, sizes_of(part), classes_of(table), truth), truth


def _precision(store: pa.Table, truth: dict[int, Given], classes: list[str]) -> list[list[Any]]:
    """By class: pseudo-boxes kept, and the share of those in images whose truth is known that find an object."""
    kept, right = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    columns = (store[name].to_pylist() for name in ("boxes", "labels", "calibrated", "kept"))
    for row, (boxes, labels, scores, keep) in enumerate(zip(*columns, strict=True)):
        if row not in truth or not any(keep):
            continue
        some = np.flatnonzero(keep)
        said = Found(
            np.array(boxes, np.float32).reshape(-1, 4)[some], np.array(labels, np.int64)[some],
            np.array(scores, np.float32)[some],
        )  # fmt: skip
        near = overlap(said.places, truth[row].places) * (said.labels[:, None] == truth[row].labels[None])
        np.add.at(kept, said.labels, 1)
        np.add.at(right, said.labels[near.max(axis=1, initial=0.0) >= 0.5], 1)
    return [
        [name, int(kept[place]), percent(right[place] / kept[place]) if kept[place] else "-"]
        for place, name in enumerate(classes)
    ]


def _summary(lines: dict[str, dict[str, Any]], verdict: dict[str, Any], precision: list[list[Any]]) -> str:
    words = {"baseline": "supervised only", "candidate": "student", "oracle": "all-boxes oracle"}
    rows = [
        [words[name], points(line["ap"]), points(line["ap50"]), points(line["ap75"]), line["images"], line["objects"]]
        for name, line in lines.items()
        if "ap" in line
    ]
    parts = [
        markdown(["detector", "AP", "AP50", "AP75", "test images", "objects"], rows),
        "\n".join(f"- {reason}" for reason in verdict["reasons"]),
        markdown(["class", "pseudo-boxes kept", "on an object of their class (IoU 0.5)"], precision),
    ]
    return "\n\n".join(parts) + "\n"
