"""Objects by row of a split."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from tutelage.data.scenes import BOXES, Annotations, read_boxes, read_known, write_boxes, write_known
from tutelage.types import BadInput


def row(image, label, *corners, crowd=False, area=1.0, mask=""):
    sides = dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
    return {"id": image, "label": label, "crowd": crowd, "area": area, "mask": mask} | sides


@pytest.fixture
def boxes():
    return pa.Table.from_pylist(
        [row("b", 2, 1, 2, 3, 4), row("x", 9, 0, 0, 1, 1), row("a", 0, 5, 6, 7, 8, crowd=True, area=3),
         row("b", 1, 0, 0, 2, 2, area=2.5)], schema=BOXES,
    )  # fmt: skip


def test_each_row_has_its_objects(boxes):
    annotations = Annotations.of(pa.table({"id": ["a", "empty", "b"]}), boxes)
    assert len(annotations) == 3
    places, labels, crowd, area = annotations[2]
    assert places.tolist() == [[1, 2, 3, 4], [0, 0, 2, 2]]  # in the table's order
    assert (labels.tolist(), crowd.tolist(), area.tolist()) == ([2, 1], [False, False], [1, 2.5])
    assert (places.dtype, labels.dtype) == (np.float32, np.int64)
    assert annotations[0].crowd.tolist() == [True]
    assert annotations[1].places.shape == (0, 4)
    assert annotations[-1].labels.tolist() == [2, 1]
    with pytest.raises(IndexError):
        annotations[3]
    again = pickle.loads(pickle.dumps(annotations))
    np.testing.assert_array_equal(again[2].places, places)


def test_no_rows_and_no_boxes(boxes):
    assert len(Annotations.of(pa.table({"id": pa.array([], pa.string())}), boxes)) == 0
    bare = Annotations.of(pa.table({"id": ["a", "b"]}), boxes.slice(0, 0))
    assert [len(bare[0].labels), len(bare[1].labels)] == [0, 0]


def test_equal_ids_are_refused(boxes):
    with pytest.raises(BadInput, match="same id"):
        Annotations.of(pa.table({"id": ["a", "a"]}), boxes)


def test_tables_come_back_as_equal_bytes(tmp_path, boxes):
    write_boxes(tmp_path, "boxes.parquet", boxes)
    assert read_boxes(tmp_path).equals(boxes)
    write_boxes(tmp_path, "again.parquet", pa.concat_tables([boxes.slice(0, 1), boxes.slice(1)]))
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "boxes.parquet").read_bytes()
    write_known(tmp_path, ["a", "b"])
    assert read_known(tmp_path) == ["a", "b"]
    with pytest.raises(BadInput, match="other columns"):
        read_boxes(tmp_path, "known.parquet")
    with pytest.raises(BadInput, match="cannot be read"):
        read_boxes(tmp_path, "truth.parquet")
