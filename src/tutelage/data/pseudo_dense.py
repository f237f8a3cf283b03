"""What a teacher said of every pixel of the pool: the store of `pseudo_labels` with two PNGs in a row.

They lie in the shard, not beside it: a shard is there as a whole or not at all, and a pool of a million images is no
million files. `values` has 16 bits: of a segmentation the class + 1 of each pixel (1 is background, 0 is ignored), of
a depth `unit` times the depth (0 is blind, as is what would be above 65535). `trust` has 8 bits, 255 is all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from tutelage.data.pseudo_labels import SCHEMA as OF_CLASSES
from tutelage.data.pseudo_labels import Shards, check_ids, read_shards
from tutelage.types import IGNORE, BadInput

DenseTask = Literal["segmentation", "depth"]
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("values", pa.binary()),
        ("trust", pa.binary()),
        ("unit", pa.float32()),  # of a depth: what a step of `values` is a part of; of a segmentation 1
        *(OF_CLASSES.field(name) for name in ("score", "calibrated", "weight", "kept", "reason")),
        *(OF_CLASSES.field(name) for name in ("teacher", "round", "view")),
    ]
)
TOP = 2**16 - 1  # of a value


class Said(NamedTuple):
    """A teacher's answer to one image, and the verdict on it."""

    values: np.ndarray  # [h w]: classes, IGNORE where the teacher was not sure; or depth, 0 where there is none
    trust: Float[np.ndarray, "h w"]  # 0..1
    score: float  # of the image as a whole
    calibrated: float
    reason: str = ""  # why it is not kept
    weight: float = 1.0  # trust in the image as a whole


def to_table(
    ids: Sequence[str], said: Iterable[Said], task: DenseTask, *, teacher: str, number: int, unit: float = 1.0
) -> pa.Table:
    """The rows of a shard: every image has one, kept or not. `unit` is 1000 for depth in metres kept to millimetres.

    Raises BadInput where a class is too large for the PNG, or the depth is not a number.
    """
    rows = [
        {
            "id": name,
            "task": task,
            "values": _png(_codes(each.values, task, unit, name)),
            "trust": _png(np.round(np.clip(each.trust, 0, 1) * 255).astype(np.uint8)),
            "unit": unit,
            "score": each.score,
            "calibrated": each.calibrated,
            "weight": 0.0 if each.reason else each.weight,
            "kept": not each.reason,
            "reason": each.reason,
            "teacher": teacher,
            "round": number,
            "view": "plain",
        }
        for name, each in zip(ids, said, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_manifest(folder: Path, *, teacher: str, number: int) -> None:
    """Counts and hashes of the shards in `folder`: what makes them a store. `number` is the round."""
    shards = Shards(folder, ["kept"])
    kept = sum(int(table["kept"].to_numpy().sum()) for table in shards)
    shards.seal({"kept": kept}, teacher=teacher, number=number)


@dataclass(frozen=True)
class PseudoDense:
    """The answers to `m` pool images, packed until one is asked for."""

    task: DenseTask
    values: pa.ChunkedArray
    trust: pa.ChunkedArray
    unit: Float[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]  # 0: rejected

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, place: int) -> tuple[np.ndarray, Float[np.ndarray, "h w"]] | None:
        """Classes [h w] with IGNORE, or depth [h w], and the trust in each pixel; None where it was not kept."""
        if not 0 <= place < len(self):
            raise IndexError(place)
        if self.weight[place] == 0:
            return None
        codes, trust = (_pixels(column[place].as_py()) for column in (self.values, self.trust))
        trusted = (trust / np.float32(255) * self.weight[place]).astype(np.float32)
        if self.task == "depth":
            return (codes / self.unit[place]).astype(np.float32), trusted * (codes > 0)
        return _classes(codes), trusted * (codes > 0)


def read_dense(folder: Path, ids: list[str], task: DenseTask) -> PseudoDense:
    """The answers to `ids`, in their order. Raises BadInput when the store is of another pool or task, or is not what
    its manifest says."""
    columns = ["id", "task", "values", "trust", "unit", "weight"]
    tables = list(read_shards(folder, columns)) if ids else []
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table().select(columns)
    check_ids(folder, table["id"].to_pylist(), ids)
    others = set(table["task"].to_pylist()) - {task}
    if others:
        raise BadInput(f"{folder} holds labels for {', '.join(sorted(others))}, and {task} is needed here")
    unit, weight = (table[name].to_numpy().astype(np.float32) for name in ("unit", "weight"))
    return PseudoDense(task, table["values"], table["trust"], unit, weight)


def _codes(values: np.ndarray, task: DenseTask, unit: float, name: str) -> np.ndarray:
    if task == "segmentation":
        if values.size and not IGNORE <= values.min() <= values.max() < TOP:
            raise BadInput(f"{name} has classes {values.min()} to {values.max()}: they go from {IGNORE} to {TOP - 1}")
        return (values.astype(np.int64) + 1).astype(np.uint16)
    steps = np.round(values.astype(np.float64) * unit)
    if not np.isfinite(steps).all():
        raise BadInput(f"the depth of {name} is not a number everywhere. Give 0 where there is none")
    return np.where((steps > 0) & (steps <= TOP), steps, 0).astype(np.uint16)


def _classes(codes: np.ndarray) -> Int[np.ndarray, "h w"]:
    return codes.astype(np.int64) - 1  # a code of 0 becomes IGNORE


def _png(pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return bytes(data)


def _pixels(data: bytes) -> np.ndarray:
    found: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise BadInput("a row of the pseudo-labels holds no PNG. Run `dvc repro --force` for the stage that labels")
    return found
