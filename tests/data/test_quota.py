"""Of each class the surest labels are kept, over all shards."""

import numpy as np
import pyarrow as pa
import pytest

from tutelage.data import quota
from tutelage.data.pseudo_labels import SCHEMA, read_table, write_manifest, write_shards

LABEL = [0, 0, 1, 0, 0, 1, 0]
SURE = [0.7, 0.9, 0.6, 0.8, 0.8, 0.5, 0.95]
KEPT = [True, True, True, True, True, True, False]  # the last one, surest of all, is of none of the classes
REASON = [""] * 6 + ["out_of_distribution"]


def planted(folder, size=3):
    """The seven images above in shards of `size`."""
    folder.mkdir(exist_ok=True)
    n = len(LABEL)
    rows = pa.table(
        {
            "id": list("abcdefg"), "task": ["classification"] * n, "label": LABEL, "classes": [[0, 1]] * n,
            "probabilities": [[0.5, 0.5]] * n, "score": SURE, "calibrated": SURE, "distance": [None, *[1.0] * 6],
            "weight": np.array(KEPT, np.float32), "kept": KEPT, "reason": REASON, "teacher": ["t"] * n,
            "round": [1] * n, "view": ["plain"] * n,
        }
    ).cast(SCHEMA)  # fmt: skip
    list(write_shards(folder, [(place, rows.slice(size * place, size)) for place in range(-(-n // size))]))
    return folder


def read(folder, *columns):
    write_manifest(folder, ["zero", "one"], teacher="t", number=1)
    return [read_table(folder, [name])[name].to_pylist() for name in columns]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_surest_of_a_class_stay_and_of_equally_sure_ones_the_first(tmp_path):
    before = read(planted(tmp_path), *SCHEMA.names)
    quota.keep_surest(tmp_path, 2, rejected=0.25)
    kept, reason, weight = read(tmp_path, "kept", "reason", "weight")
    assert kept == [False, True, True, True, False, True, False]
    assert reason == ["beyond_quota", "", "", "", "beyond_quota", "", "out_of_distribution"]
    assert weight == [0.25, 1, 1, 1, 0.25, 1, 0]
    after = read(tmp_path, *SCHEMA.names)
    changed = [name for name, old, new in zip(SCHEMA.names, before, after, strict=True) if old != new]
    assert changed == ["weight", "kept", "reason"]


def test_a_second_time_changes_nothing_and_shards_without_such_labels_are_left_alone(tmp_path):
    raw = contents(planted(tmp_path))
    quota.keep_surest(tmp_path, 2, rejected=0.0)
    once = contents(tmp_path)
    assert {name for name in raw if raw[name] != once[name]} == {"shard-00000.parquet", "shard-00001.parquet"}
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    quota.keep_surest(tmp_path, 2, rejected=0.0)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_size_of_shards_does_not_matter(tmp_path, size):
    folders = [planted(tmp_path / "three"), planted(tmp_path / "other", size)]
    for folder in folders:
        quota.keep_surest(folder, 1, rejected=0.5)
    one, other = (read(folder, *SCHEMA.names) for folder in folders)
    assert one == other
    assert one[SCHEMA.get_field_index("kept")] == [False, True, True, False, False, False, False]


def test_cut_off_between_two_shards_it_ends_where_it_would_have(tmp_path, monkeypatch):
    whole, cut = planted(tmp_path / "whole"), planted(tmp_path / "cut")
    quota.keep_surest(whole, 2, rejected=0.0)

    def dies(folder, shards):
        yield from write_shards(folder, shards)
        raise KeyboardInterrupt

    with monkeypatch.context() as here:
        here.setattr(quota, "write_shards", dies)
        with pytest.raises(KeyboardInterrupt):
            quota.keep_surest(cut, 2, rejected=0.0)
    assert contents(cut) != contents(whole)
    quota.keep_surest(cut, 2, rejected=0.0)
    assert contents(cut) == contents(whole)


def test_a_quota_that_no_class_fills_and_an_empty_pool_change_nothing(tmp_path):
    raw = contents(planted(tmp_path))
    quota.keep_surest(tmp_path, 4, rejected=0.0)
    assert contents(tmp_path) == raw
    (tmp_path / "empty").mkdir()
    quota.keep_surest(tmp_path / "empty", 1, rejected=0.0)
    assert not any((tmp_path / "empty").iterdir())
