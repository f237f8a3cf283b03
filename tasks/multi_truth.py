"""What people gave for the scenes of a split, task by task, as networks and measures take it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int

from tasks.box_training import sizes_of
from tutelage.data import masks
from tutelage.data.boxes import looked_for, unsearched
from tutelage.data.decoding import letterbox_factor, stored_grey
from tutelage.data.manifest import classes_of
from tutelage.data.multi_batches import Known, KnownDepth, KnownObjects, KnownPresent, KnownSegments
from tutelage.data.scenes import Annotations
from tutelage.types import IGNORE, BadInput, Boxes, Task

Masks = list[tuple[int, bool, str]]  # class, crowd, run lengths


@dataclass(frozen=True)
class Truth:
    """By row of a split. Answers for pixels are those of the letterbox of `size` pixels."""

    size: int
    classes: int
    sizes: Int[np.ndarray, "r 2"]  # width and height of the images
    objects: Annotations
    masks: Mapping[int, Masks]
    depths: Mapping[int, tuple[str, str]]  # path and sha256
    unit: float  # steps of a depth PNG in one metre

    @classmethod
    def of(cls, table: pa.Table, boxes: pa.Table, shares: pa.Table, *, size: int, unit: float) -> "Truth":
        """`boxes` as scenes.BOXES, `shares` as multi_split.SHARES."""
        rows = {name: row for row, name in enumerate(table["id"].to_pylist())}
        found: dict[int, Masks] = {}
        for name, label, crowd, mask in zip(*(boxes[k].to_pylist() for k in ("id", "label", "crowd", "mask")),
                                            strict=True):  # fmt: skip
            if name in rows:
                found.setdefault(rows[name], []).append((label, crowd, mask))
        depths = {
            rows[name]: (path, digest)
            for name, path, digest in zip(*(shares[k].to_pylist() for k in ("id", "depth", "sha256")), strict=True)
            if path
        }
        return cls(size, len(classes_of(table)), sizes_of(table), Annotations.of(table, boxes), found, depths, unit)

    def known(self, row: int, tasks: Sequence[Task]) -> Known:
        """What is known of an image where only these tasks were annotated."""
        whole = np.ones((self.size, self.size), np.float32)
        searched = self.searched(row)
        return Known(
            classification=KnownPresent(self.present(row), searched.astype(np.float32))
            if "classification" in tasks else None,
            detection=KnownObjects(self.boxes(row), searched) if "detection" in tasks else None,
            segmentation=KnownSegments(self.segments(row), whole, np.concatenate([[True], searched]))
            if "segmentation" in tasks else None,
            depth=KnownDepth(self.depth(row), whole) if "depth" in tasks else None,
        )  # fmt: skip

    def present(self, row: int) -> Float[np.ndarray, " c"]:
        """1 for each class that is somewhere in the image."""
        found = np.zeros(self.classes, np.float32)
        found[self.objects[row].labels[~self.unsearched(row)]] = 1
        return found

    def searched(self, row: int) -> Bool[np.ndarray, " c"]:
        """The classes that somebody looked for in the image."""
        wide, high = self.sizes[row].tolist()
        return looked_for(self.objects[row], wide, high, self.classes)

    def unsearched(self, row: int) -> Bool[np.ndarray, " k"]:
        """Which objects of an image say that nobody looked for their class."""
        return unsearched(self.objects[row], *self.sizes[row].tolist())

    def boxes(self, row: int) -> Boxes:
        """In pixels of the letterbox; crowds have no weight."""
        given, marked = self.objects[row], ~self.unsearched(row)
        believed = torch.from_numpy(~given.crowd[marked]).float()
        places = torch.from_numpy(given.places[marked] * np.float32(self.factor(row)))
        return Boxes(places, torch.from_numpy(given.labels[marked]), believed, believed)

    def segments(self, row: int) -> Int[np.ndarray, "s s"]:
        """0 background, else the class + 1; IGNORE beyond the image and in crowds. Smaller objects lie on top."""
        wide, high = (int(side) for side in self.sizes[row])
        flat = np.zeros(wide * high, np.int16)
        nowhere = self.objects[row].labels[self.unsearched(row)]
        marked = [each for each in self.masks.get(row, []) if not (each[1] and each[0] in nowhere)]
        shapes = [(masks.runs(mask, wide, high), label, crowd) for label, crowd, mask in marked]
        for runs, label, crowd in sorted(shapes, key=lambda each: -int(np.diff(each[0]).sum())):
            for start, stop in runs.tolist():
                flat[start:stop] = IGNORE if crowd else label + 1
        classes = np.ascontiguousarray(flat.reshape(wide, high).T)
        return self.framed(row, classes, IGNORE).astype(np.int64)

    def depth(self, row: int) -> Float[np.ndarray, "s s"]:
        """In metres, 0 where the sensor was blind. Raises BadInput where the file is not what was shared out."""
        path, digest = self.depths[row]
        data = Path(path).read_bytes() if Path(path).is_file() else b""
        if hashlib.sha256(data).hexdigest() != digest:
            raise BadInput(f"{path} is not the depth that was shared out. Run `dvc repro multi_split`")
        wide, high = (int(side) for side in self.sizes[row])
        steps = stored_grey(data, wide, high)
        if steps is None or steps.dtype != np.uint16:
            raise BadInput(f"{path} is no 16-bit grey PNG of its image's {wide} x {high} pixels. Save it as one")
        return self.framed(row, steps.astype(np.float32) / np.float32(self.unit), 0)

    def factor(self, row: int) -> float:
        """Pixels of the letterbox for each of the image."""
        return letterbox_factor(int(self.sizes[row, 0]), int(self.sizes[row, 1]), self.size)

    def inside(self, row: int) -> Float[np.ndarray, "s s"]:
        """1 at the pixels of the letterbox that are the image's, 0 beyond."""
        wide, high = (max(1, round(int(side) * self.factor(row))) for side in self.sizes[row])
        square = np.zeros((self.size, self.size), np.float32)
        square[:high, :wide] = 1
        return square

    def framed(self, row: int, values: np.ndarray, beyond: int) -> np.ndarray:
        """Values of the image's pixels as those of the letterbox: of each the nearest, for a mean of two is a third."""
        high, wide = (max(1, round(side * self.factor(row))) for side in values.shape)
        square = np.full((self.size, self.size), beyond, values.dtype)
        square[:high, :wide] = cv2.resize(values, (wide, high), interpolation=cv2.INTER_NEAREST_EXACT)
        return square


@dataclass(frozen=True)
class Unlabelled:
    """Of images without labels, by their place, only which pixels are the image's."""

    truth: Truth  # for the frames of images alone
    rows: Int[np.ndarray, " m"]

    def __call__(self, place: int) -> Known:
        size, row = self.truth.size, int(self.rows[place])
        nobody = np.full((size, size), IGNORE, np.int64)
        return Known(segmentation=KnownSegments(nobody, self.truth.inside(row), np.ones(self.truth.classes + 1, bool)))


@dataclass(frozen=True)
class Given:
    """What is known of labelled images, by their place: of each its own task's labels alone."""

    truth: Truth
    rows: Int[np.ndarray, " n"]
    tasks: Sequence[Task]  # of each row

    def __call__(self, place: int) -> Known:
        return self.truth.known(int(self.rows[place]), (self.tasks[place],))
