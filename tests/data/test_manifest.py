import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import save, table_of

from tutelage.data.manifest import (
    MANIFEST,
    SPLIT,
    TRUTH,
    classes_of,
    describe,
    digest_of,
    read_manifest,
    read_split,
    read_truth,
    roots_of,
    write_manifest,
    write_split,
)
from tutelage.types import BadInput


@pytest.fixture
def table(tmp_path):
    for name in ("cat/1.png", "dog/1.png", "dog/2.png"):
        save(tmp_path / "train" / name)
    return table_of(tmp_path, labelled="train")


def test_a_digest_changes_with_a_name_the_bytes_and_a_role():
    rows = {"id": ["a", "b"], "sha256": ["0", "1"], "role": ["pool", "test"]}
    others = [rows | {"id": ["a", "c"]}, rows | {"sha256": ["0", "2"]}, rows | {"role": ["pool", "pool"]}]
    assert len({digest_of(pa.table(each)) for each in [rows, *others]}) == 4
    assert digest_of(pa.table(rows)) == digest_of(pa.table(dict(rows)))


def test_a_manifest_comes_back_with_its_metadata(tmp_path, table):
    write_manifest(tmp_path, table)
    again = read_manifest(tmp_path)
    assert again.equals(table, check_metadata=True)
    assert again.schema.equals(MANIFEST)
    assert classes_of(again) == ["cat", "dog"]
    assert roots_of(again) == {"labelled": (tmp_path / "train").as_posix()}
    assert again["tasks"].to_pylist() == [["classification"]] * 3
    assert again["label_source"].to_pylist() == ["given"] * 3


def test_equal_tables_are_equal_bytes(tmp_path, table):
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1)])  # the same rows, other chunks
    for name, rows in (("one", table), ("two", parts)):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, rows)
    assert (tmp_path / "one/manifest.parquet").read_bytes() == (tmp_path / "two/manifest.parquet").read_bytes()


def test_hidden_labels_come_back_by_id(tmp_path):
    truth = pa.table({"id": ["pool/a", "pool/b"], "label": [1, 0]}, schema=TRUTH)
    write_split(tmp_path, describe(SPLIT.empty_table(), roots={}, classes=["x", "y"]), truth)
    assert read_truth(tmp_path) == {"pool/a": 1, "pool/b": 0}
    assert classes_of(read_split(tmp_path)) == ["x", "y"]


def test_what_is_missing_or_of_another_version_is_named(tmp_path):
    with pytest.raises(BadInput, match="dvc repro ingest"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"half a file")
    with pytest.raises(BadInput, match=r"manifest\.parquet cannot be read"):
        read_manifest(tmp_path)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "split.parquet")
    with pytest.raises(BadInput, match="other columns"):
        read_split(tmp_path)
    with pytest.raises(BadInput, match="does not say its classes"):
        classes_of(pa.table({"id": ["a"]}))
