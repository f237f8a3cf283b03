"""What teachers said of the pool: rows for the stores of each task, and what a student is told of them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from tasks.multi_params import LabelMulti
from tasks.multi_truth import Truth
from tutelage.data import pseudo_boxes, pseudo_dense, pseudo_labels
from tutelage.data.boxes import Found
from tutelage.data.multi_batches import Known, KnownDepth, KnownObjects, KnownPresent, KnownSegments
from tutelage.data.pseudo_boxes import PseudoBoxes, Verdict, read_boxes_of
from tutelage.data.pseudo_dense import PseudoDense, read_dense
from tutelage.train.answers import Said
from tutelage.types import IGNORE, BadInput, Boxes, Task

SCHEMAS: dict[Task, pa.Schema] = {
    "classification": pseudo_labels.SCHEMA,
    "detection": pseudo_boxes.SCHEMA,
    "segmentation": pseudo_dense.SCHEMA,
    "depth": pseudo_dense.SCHEMA,
}


class Maker(NamedTuple):
    """Who says it."""

    task: Task
    teacher: str  # sha256 of its file
    classes: list[str]


def shard(ids: Sequence[str], said: Iterable[Said], maker: Maker, wanted: LabelMulti) -> pa.Table:
    """The rows of a shard of that task's store, of one answer after the other: those for pixels are large."""
    match maker.task:
        case "classification":
            rows = [_present(*each, maker.teacher) for each in zip(ids, said, strict=True)]
            return pa.Table.from_pylist(rows, schema=pseudo_labels.SCHEMA)
        case "detection":
            verdicts = [_judged(_some(each.detection), wanted) for each in said]
            return pseudo_boxes.to_table(ids, verdicts, teacher=maker.teacher, number=0)
        case "segmentation":
            named = (_named(_some(each.segmentation), wanted.pixel_confidence) for each in said)
            return pseudo_dense.to_table(ids, named, "segmentation", teacher=maker.teacher, number=0)
        case "depth":
            far = (_far(_some(each.depth), wanted.unit) for each in said)
            return pseudo_dense.to_table(ids, far, "depth", teacher=maker.teacher, number=0, unit=wanted.unit)


def write_manifest(folder: Path, maker: Maker) -> None:
    """Counts and hashes of the shards in `folder`."""
    match maker.task:
        case "classification":
            pseudo_labels.write_manifest(folder, maker.classes, teacher=maker.teacher, number=0)
        case "detection":
            pseudo_boxes.write_manifest(folder, maker.classes, teacher=maker.teacher, number=0)
        case _:
            pseudo_dense.write_manifest(folder, teacher=maker.teacher, number=0)


@dataclass(frozen=True)
class Told:
    """What teachers said of pool images, by their place in the pool; None of a task that has no teacher."""

    truth: Truth  # for the frames of images alone
    rows: np.ndarray  # of the split [m]
    present: np.ndarray | None  # probabilities [m, c]
    boxes: PseudoBoxes | None
    segments: PseudoDense | None
    depth: PseudoDense | None
    trust: np.ndarray | None = None  # of each of `present` [m, c]; None: all alike

    def only(self, tasks: Collection[Task]) -> "Told":
        """Of these tasks alone."""
        return replace(
            self,
            present=self.present if "classification" in tasks else None,
            boxes=self.boxes if "detection" in tasks else None,
            segments=self.segments if "segmentation" in tasks else None,
            depth=self.depth if "depth" in tasks else None,
        )

    def __call__(self, place: int) -> Known:
        every = np.ones(self.truth.classes, np.float32) if self.trust is None else self.trust[place]
        segments, far = (self._pixels(*each, place) for each in ((self.segments, IGNORE), (self.depth, 0)))
        return Known(
            classification=None if self.present is None else KnownPresent(self.present[place], every),
            detection=None if self.boxes is None else self._objects(self.boxes, place),
            segmentation=segments and KnownSegments(*segments, np.ones(self.truth.classes + 1, bool)),
            depth=far and KnownDepth(*far),
        )

    def _pixels(self, store: PseudoDense | None, nothing: int, place: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Answers and trust; `nothing` beyond the image, of which a teacher has learned nothing and says something."""
        said = None if store is None else store[place]
        if said is None:
            return None
        if said[0].shape != (self.truth.size, self.truth.size):
            raise BadInput(
                f"pseudo-labels of {said[0].shape[0]} pixels a side, and the student sees {self.truth.size}. Run "
                "`dvc repro` to train the teachers with this multitask.network.detector.image_size"
            )
        inside = self.truth.inside(int(self.rows[place]))
        return np.where(inside > 0, said[0], nothing).astype(said[0].dtype), said[1] * inside

    def _objects(self, boxes: PseudoBoxes, place: int) -> KnownObjects | None:
        if boxes.image_weight[place] == 0:
            return None
        each, factor = boxes[place], np.float32(self.truth.factor(int(self.rows[place])))
        weights = (torch.from_numpy(weight) for weight in (each.weight, each.place_weight))
        known = Boxes(torch.from_numpy(each.places * factor), torch.from_numpy(each.labels), *weights)
        return KnownObjects(known, np.ones(self.truth.classes, bool), float(boxes.image_weight[place]))


def nothing_told(truth: Truth) -> Told:
    """An empty pool."""
    return Told(truth, np.zeros(0, np.int64), None, None, None, None)


def read_told(labels: Path, tasks: Sequence[Task], ids: list[str], truth: Truth, rows: np.ndarray) -> Told:
    """The stores labels/TASK of these tasks. Raises BadInput for one that is missing, or of another pool."""
    for task in tasks:
        if not (labels / task / "manifest.json").exists():
            raise BadInput(
                f"{labels / task} holds no pseudo-labels. Run `dvc repro multi_label@{task}`, or leave {task} out of "
                "multitask.tasks"
            )
    return Told(
        truth,
        rows,
        _read_present(labels / "classification", ids) if "classification" in tasks else None,
        read_boxes_of(labels / "detection", ids) if "detection" in tasks else None,
        read_dense(labels / "segmentation", ids, "segmentation") if "segmentation" in tasks else None,
        read_dense(labels / "depth", ids, "depth") if "depth" in tasks else None,
    )


def _read_present(folder: Path, ids: list[str]) -> np.ndarray:
    """Not `pseudo_labels.read`, whose classes exclude each other: here each has a probability of its own."""
    table = pseudo_labels.read_table(folder, ["id", "probabilities"])
    pseudo_labels.check_ids(folder, table["id"].to_pylist(), ids)
    return np.array(table["probabilities"].to_pylist(), np.float32)


def _present(name: str, said: Said, teacher: str) -> dict[str, Any]:
    chance = _some(said.classification)
    sure = float(np.maximum(chance, 1 - chance).mean())
    return {
        "id": name, "task": "classification", "label": int(chance.argmax()), "classes": list(range(len(chance))),
        "probabilities": chance.tolist(), "score": sure, "calibrated": sure, "weight": 1.0, "kept": True, "reason": "",
        "teacher": teacher, "round": 0, "view": "plain",
    }  # fmt: skip


def _judged(found: Found, wanted: LabelMulti) -> Verdict:
    """Sure boxes are objects, doubtful ones are kept without weight: neither an object nor background."""
    sure, kept = found.scores >= wanted.box_score, found.scores >= min(wanted.box_doubt, wanted.box_score)
    weights = sure.astype(np.float32)
    reasons = ["" if each else "below multitask.label.box_doubt" for each in kept]
    # Where nothing is sure, the teacher may have missed all there is: the image says nothing of boxes.
    return Verdict(found, found.scores, kept, reasons, weights, weights, weight=float(sure.any()))


def _named(chances: np.ndarray, least: float) -> pseudo_dense.Said:
    sure = chances.max(0)
    classes = np.where(sure >= least, chances.argmax(0), IGNORE)
    mean = float(sure.mean())
    return pseudo_dense.Said(classes, sure, mean, mean, "" if (classes >= 0).any() else "no pixel is sure enough")


def too_far(depth: np.ndarray, unit: float) -> np.ndarray:
    """Where a depth is above what a store can hold, which then has none there."""
    return np.round(depth.astype(np.float64) * unit) > pseudo_dense.TOP


def _far(depth: np.ndarray, unit: float) -> pseudo_dense.Said:
    reason = "all is too far for multitask.label.unit" if too_far(depth, unit).all() else ""
    return pseudo_dense.Said(depth, np.ones_like(depth), 1.0, 1.0, reason)


def _some(answer: Any) -> Any:
    """What a teacher of that task always says."""
    assert answer is not None
    return answer
