import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import pseudo_labels as store
from tutelage.types import BadInput


def shard(ids, kept):
    n = len(ids)
    return pa.table(
        {
            "id": ids, "task": ["classification"] * n, "label": np.zeros(n, np.int32),
            "classes": [np.array([0, 2], np.int32)] * n, "probabilities": [np.array([0.6, 0.2], np.float32)] * n,
            "score": np.full(n, 0.9, np.float32), "calibrated": np.full(n, 0.6, np.float32),
            "distance": np.full(n, np.nan, np.float32),
            "weight": np.array(kept, np.float32), "kept": kept,
            "reason": ["" if k else "below_threshold" for k in kept],
            "teacher": ["t"] * n, "round": np.ones(n, np.int32), "view": ["plain"] * n,
        },
        schema=store.SCHEMA,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    list(store.write_shards(tmp_path, [(0, shard(["a", "b"], [True, False])), (1, shard(["c"], [True]))]))
    store.write_manifest(tmp_path, ["x", "y", "z"], teacher="t", number=1)
    return tmp_path


def test_what_was_written_is_read(folder):
    labels = store.read(folder, ["a", "b", "c"], 3)
    target, weight = labels.dense(np.array([0, 1, 2]))
    np.testing.assert_allclose(target[0], [0.75, 0, 0.25])  # top two of three, scaled to one
    np.testing.assert_array_equal(target[1], [0, 0, 0])  # rejected
    np.testing.assert_array_equal(weight, [1, 0, 1])


def test_manifest_counts(folder):
    import json

    said = json.loads((folder / "manifest.json").read_text())
    assert (said["images"], said["kept"]) == (3, 2)
    assert said["per_class"] == {
        "x": {"predicted": 3, "kept": 2}, "y": {"predicted": 0, "kept": 0}, "z": {"predicted": 0, "kept": 0},
    }  # fmt: skip
    assert [row["rows"] for row in said["shards"]] == [2, 1]


def test_labels_of_another_pool_are_refused(folder):
    with pytest.raises(BadInput, match="dvc repro"):
        store.read(folder, ["a", "c", "b"], 3)


def damaged(folder, how):
    first, second = folder / "shard-00000.parquet", folder / "shard-00001.parquet"
    if how == "cut":
        second.write_bytes(second.read_bytes()[:-40])
    elif how == "edited":
        pq.write_table(shard(["c"], [False]), second)
    elif how == "missing":
        second.unlink()
    elif how == "foreign":
        (folder / "shard-00002.parquet").write_bytes(first.read_bytes())
    elif how == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text("[]" if how == "a list" else "{")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "shard-00001.parquet has other bytes"), ("edited", "shard-00001.parquet has other bytes"),
        ("missing", "shard-00001.parquet is missing"), ("foreign", "shard-00002.parquet is not in its manifest.json"),
        ("no manifest", "manifest.json cannot be read"), ("no JSON", "manifest.json cannot be read"),
        ("a list", "manifest.json lacks the shards"),
    ],
)  # fmt: skip
def test_a_store_that_is_not_what_its_manifest_says_is_refused(folder, how, said):
    damaged(folder, how)
    with pytest.raises(BadInput, match=f"{said}.*Delete it and run `dvc repro`"):
        store.read(folder, ["a", "b", "c"], 3)


def test_labels_of_other_classes_are_refused(folder):
    with pytest.raises(BadInput, match="it has 3 classes, and 2 are needed here"):
        store.read(folder, ["a", "b", "c"], 2)
    store.write_manifest(folder, ["x", "y"], teacher="t", number=1)  # of the classes 0 and 2
    with pytest.raises(BadInput, match="labels from 0 to 2, where 2 classes have 0 to 1"):
        store.read(folder, ["a", "b", "c"], 2)


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_trust_below_0_is_refused(folder, weight):
    """A student would learn the opposite of what it is shown."""
    path = folder / "shard-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "weight": weight} for row in rows], schema=store.SCHEMA), path)
    store.write_manifest(folder, ["x", "y", "z"], teacher="t", number=1)
    with pytest.raises(BadInput, match=f"it has a weight of {weight:g}, and trust is 0 or more"):
        store.read(folder, ["a", "b", "c"], 3)


def test_an_empty_pool_has_no_labels(tmp_path):
    target, weight = store.read(tmp_path, [], 3).dense(np.zeros(0, np.int64))
    assert target.shape == (0, 3)
    assert weight.shape == (0,)


def test_a_torn_shard_never_has_its_name(tmp_path):
    def broken():
        yield 0, shard(["a"], [True])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(store.write_shards(tmp_path, broken()))
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.parquet"]
    assert pq.read_table(tmp_path / "shard-00000.parquet").num_rows == 1


def test_equal_labels_are_equal_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        list(store.write_shards(tmp_path / name, [(0, shard(["a", "b"], [True, False]))]))
    one, two = ((tmp_path / name / "shard-00000.parquet").read_bytes() for name in ("one", "two"))
    assert one == two
