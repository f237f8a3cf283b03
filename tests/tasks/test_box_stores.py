"""Boxes of a pool: read as few large arrays, for a list of Python's takes hundreds of bytes a box."""

import tracemalloc

import numpy as np
import pytest

from tasks.box_answers import kept_boxes, read_found, read_store, write_found
from tasks.box_pictures import BoxPool, strips
from tutelage.data.boxes import Found
from tutelage.data.pseudo_boxes import SCHEMA, Verdict, to_table, write_manifest
from tutelage.data.pseudo_labels import write_shards

BYTES = 100  # a box at most: 28 as arrays, and copies while they are chosen


def boxes(number, seed=0):
    rng = np.random.default_rng(seed)
    places, scores = rng.uniform(0, 9, (number, 4)).astype(np.float32), rng.uniform(size=number).astype(np.float32)
    return Found(places, rng.integers(0, 2, number), scores)


def store(folder, found, kept):
    """A store with two images a shard, whose calibrated scores are half of the scores."""
    said = [
        Verdict(one, one.scores / 2, some, ["" if each else "below_threshold" for each in some], one.scores, one.scores)
        for one, some in zip(found, kept, strict=True)
    ]
    names, pairs = list("abcdefghijkl")[: len(said)], range(0, len(said), 2)
    tables = [to_table(names[i : i + 2], said[i : i + 2], teacher="t", number=1) for i in pairs]
    list(write_shards(folder, enumerate(tables), SCHEMA))
    write_manifest(folder, ["cat", "dog"], teacher="t", number=1)
    return read_store(folder)


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for column, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(column, right)
            assert (column.dtype, column.shape) == (right.dtype, right.shape)


def test_kept_boxes_of_each_image_are_those_that_the_store_keeps(tmp_path):
    found = [boxes(number, seed=number) for number in (3, 0, 4, 1, 2)]
    kept = [np.array(some, bool) for some in ([1, 0, 1], [], [0, 0, 0, 0], [1], [0, 1])]
    expected = [
        Found(one.places[some], one.labels[some], one.scores[some] / 2) for one, some in zip(found, kept, strict=True)
    ]
    table = store(tmp_path, found, kept)
    assert_equal(kept_boxes(table), expected)
    assert_equal(kept_boxes(table.slice(1, 3)), expected[1:4])
    assert kept_boxes(table.slice(0, 0)) == []


def test_the_store_of_an_empty_pool_has_no_box(tmp_path):
    assert kept_boxes(store(tmp_path, [], [])) == []


def test_what_was_found_is_read_as_it_was_written(tmp_path):
    found = [boxes(number, seed=number) for number in (2, 0, 3)]
    write_found(tmp_path, ["a", "b", "c"], found)
    ids, again = read_found(tmp_path)
    assert ids == ["a", "b", "c"]
    assert_equal(again, found)
    write_found(tmp_path, [], [])
    assert read_found(tmp_path) == ([], [])


@pytest.mark.parametrize("reader", ["kept", "found", "pictures"])
def test_a_box_takes_few_bytes(tmp_path, reader):
    found = [boxes(3000, seed) for seed in range(10)]
    table = store(tmp_path, found, [one.scores > 0.5 for one in found])
    write_found(tmp_path, list("abcdefghij"), found)
    pool = BoxPool(lambda row: np.zeros((8, 8, 3), np.uint8), 8, np.full((10, 2), 8), ["cat", "dog"], {})
    read = {
        "kept": lambda: kept_boxes(table), "found": lambda: read_found(tmp_path),
        "pictures": lambda: strips(pool, table, {}, 0),
    }[reader]  # fmt: skip
    read()  # what is loaded and compiled at first is no box
    tracemalloc.start()
    read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < BYTES * 30000
