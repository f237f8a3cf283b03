import json
import os
import pickle
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
from fresh import killed

from tutelage.data import pseudo_dense as store
from tutelage.data.pseudo_labels import shard_name, write_shards
from tutelage.types import IGNORE, BadInput

CLASSES = np.array([[0, 1, IGNORE], [2, 0, 65534]])
TRUST = np.array([[1.0, 0.5, 1.0], [0.0, 0.25, 1.0]], np.float32)
DEPTH = np.array([[1.5, 0.0, 3.2504], [65.535, 70.0, 0.001]], np.float32)


def table(values, task, *, reason="", weight=0.5, unit=1.0):
    said = [store.Said(values, TRUST, 0.8, 0.7, reason, weight)]
    return store.to_table(["a"], said, task, teacher="t", number=2, unit=unit)


def read(folder, rows, task):
    list(write_shards(folder, [(0, rows)], store.SCHEMA))
    store.write_manifest(folder, teacher="t", number=2)
    return store.read_dense(folder, ["a"], task)


def test_classes_come_back_and_what_is_ignored_has_no_weight(tmp_path):
    labels = read(tmp_path, table(CLASSES, "segmentation"), "segmentation")
    values, trust = pickle.loads(pickle.dumps(labels))[0]  # for worker processes
    assert (values == CLASSES).all()
    np.testing.assert_allclose(trust, [[0.5, 0.25, 0], [0, 0.125, 0.5]], atol=0.003)


def test_depth_comes_back_to_the_millimetre_and_what_does_not_fit_is_blind(tmp_path):
    values, trust = read(tmp_path, table(DEPTH, "depth", unit=1000.0), "depth")[0]
    np.testing.assert_allclose(values, [[1.5, 0, 3.25], [65.535, 0, 0.001]], atol=1e-5)
    assert (trust[values == 0] == 0).all()
    assert trust[0, 0] == 0.5


def test_what_was_not_kept_says_why_and_teaches_nothing(tmp_path):
    labels = read(tmp_path, table(CLASSES, "segmentation", reason="few_sure_pixels"), "segmentation")
    assert labels[0] is None
    row = pq.read_table(tmp_path / shard_name(0)).to_pylist()[0]
    assert (row["kept"], row["reason"], row["weight"]) == (False, "few_sure_pixels", 0.0)
    assert (row["teacher"], row["round"], row["view"], row["task"]) == ("t", 2, "plain", "segmentation")
    assert (row["score"], row["calibrated"]) == pytest.approx((0.8, 0.7))


def test_the_manifest_counts_and_hashes(tmp_path):
    read(tmp_path, table(CLASSES, "segmentation"), "segmentation")
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert (found["images"], found["kept"], found["teacher"], found["round"]) == (1, 1, "t", 2)
    assert len(found["shards"][0]["sha256"]) == 64


def test_another_pool_or_task_is_refused(tmp_path):
    read(tmp_path, table(CLASSES, "segmentation"), "segmentation")
    with pytest.raises(BadInput, match="labels another pool"):
        store.read_dense(tmp_path, ["b"], "segmentation")
    with pytest.raises(BadInput, match="holds labels for segmentation, and depth"):
        store.read_dense(tmp_path, ["a"], "depth")
    assert len(store.read_dense(tmp_path, [], "depth")) == 0


def test_a_shard_that_was_edited_is_refused(tmp_path):
    read(tmp_path, table(CLASSES, "segmentation"), "segmentation")
    pq.write_table(table(CLASSES[::-1], "segmentation"), tmp_path / shard_name(0))
    with pytest.raises(BadInput, match=r"shard-00000.parquet has other bytes"):
        store.read_dense(tmp_path, ["a"], "segmentation")


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="classes 0 to 65535"):
        table(np.array([[0, 65535, 0]] * 2), "segmentation")
    with pytest.raises(BadInput, match="not a number everywhere"):
        table(np.full((2, 3), np.nan), "depth")


def label(folder, *, dies_at=None):
    def shards():
        for place in range(4):
            if (folder / shard_name(place)).exists():
                continue
            if place == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            rng = np.random.default_rng(place)
            said = [store.Said(rng.integers(-1, 9, (8, 8)), rng.random((8, 8)), 0.5, 0.5) for _ in range(3)]
            names = [f"{place}-{k}" for k in range(3)]
            yield place, store.to_table(names, said, "segmentation", teacher="t", number=1)

    folder.mkdir(exist_ok=True)
    list(write_shards(folder, shards(), store.SCHEMA))
    store.write_manifest(folder, teacher="t", number=1)


def test_killed_and_continued_it_is_byte_for_byte_the_same(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    label(whole)
    assert killed(lambda: label(cut, dies_at=2)) == -signal.SIGKILL
    assert (cut / shard_name(1)).exists()
    assert not (cut / "manifest.json").exists()
    label(cut)
    for path in sorted(whole.iterdir()):
        assert path.read_bytes() == (cut / path.name).read_bytes()
    assert len(list(cut.iterdir())) == 5
