"""Objects in images as a table, and as arrays that are asked for by row. Equal rows are equal bytes."""

from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from tutelage.data.boxes import Given
from tutelage.data.manifest import read_columns
from tutelage.types import BadInput

BOXES = pa.schema(
    [
        ("id", pa.string()),  # of the image
        ("label", pa.int32()),  # place in classes
        ("x1", pa.float32()),  # pixels of the original image
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("crowd", pa.bool_()),
        ("area", pa.float32()),  # pixels
        ("mask", pa.string()),  # COCO's compressed run lengths, "" where there is none
    ]
)
KNOWN = pa.schema([("id", pa.string())])
_SIDES = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, slots=True)
class Annotations:
    """`annotations[row]` is what a person marked in row `row` of the table that it was made for.

    Flat arrays, so it is cheap to pickle.
    """

    places: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, " k"]
    crowd: Bool[np.ndarray, " k"]
    area: Float[np.ndarray, " k"]
    offsets: Int[np.ndarray, " m"]  # the boxes of row i are offsets[i] .. offsets[i + 1]

    @classmethod
    def of(cls, table: pa.Table, boxes: pa.Table) -> "Annotations":
        """`table` has a column id; boxes of images that it does not hold are left out. Raises BadInput on equal ids."""
        ids = table["id"].combine_chunks()
        if len(pc.unique(ids)) < len(ids):
            raise BadInput("two rows of the split have the same id, so it is unclear whose a box is. Run `dvc repro`")
        rows = pc.fill_null(pc.index_in(boxes["id"], value_set=ids), -1).to_numpy().astype(np.int64)
        order = np.argsort(rows, kind="stable")[(rows < 0).sum() :]
        columns = {name: boxes[name].to_numpy()[order] for name in BOXES.names if name not in ("id", "mask")}
        counts = np.bincount(rows[order], minlength=len(ids))
        return cls(
            np.stack([columns[side] for side in _SIDES], axis=1).astype(np.float32),
            columns["label"].astype(np.int64),
            columns["crowd"].astype(bool),
            columns["area"].astype(np.float32),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: SupportsIndex) -> Given:
        row = range(len(self))[index]
        own = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return Given(self.places[own], self.labels[own], self.crowd[own], self.area[own])


def unsearched_rows(boxes: pa.Table, table: pa.Table) -> Bool[np.ndarray, " k"]:
    """Which rows of `boxes` say that nobody looked for their class: boxes.unsearched, by the sizes in `table`."""
    place = pc.index_in(boxes["id"], value_set=table["id"].combine_chunks())
    width, height = (pc.take(table[side], place).to_numpy() for side in ("width", "height"))
    x1, y1, x2, y2 = (boxes[side].to_numpy() for side in _SIDES)
    spare = np.maximum.reduce([x1, y1, width - x2, height - y2])
    nowhere: np.ndarray = boxes["crowd"].to_numpy() & (spare <= 1)
    return nowhere


def write_boxes(folder: Path, name: str, table: pa.Table) -> None:
    """Rows in the order of the table."""
    pq.write_table(table.cast(BOXES).combine_chunks(), folder / name, compression="zstd")


def read_boxes(folder: Path, name: str = "boxes.parquet") -> pa.Table:
    """Raises BadInput when it is not there or of another version."""
    return read_columns(folder / name, BOXES)


def write_known(folder: Path, ids: list[str]) -> None:
    """Images of the pool whose objects are known and hidden: one that truth.parquet does not name has none."""
    pq.write_table(pa.table({"id": ids}, schema=KNOWN), folder / "known.parquet", compression="zstd")


def read_known(folder: Path) -> list[str]:
    """For the oracle, the report and the evaluation of pseudo-labels alone. Raises BadInput."""
    ids: list[str] = read_columns(folder / "known.parquet", KNOWN)["id"].to_pylist()
    return ids
