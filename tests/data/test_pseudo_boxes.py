import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import pseudo_boxes as store
from tutelage.data.boxes import Found, Given
from tutelage.data.pseudo_labels import read_table, shard_name, write_shards
from tutelage.types import BadInput

CLASSES = ["cat", "dog"]


def verdict(labels, kept, weight=1.0):
    k = len(labels)
    places = np.array([[i, 2 * i, i + 10.5, 2 * i + 20] for i in range(k)], np.float32).reshape(-1, 4)
    found = Found(places, np.array(labels, np.int64), np.linspace(0.9, 0.5, k, dtype=np.float32))
    half = np.linspace(1, 0.5, k, dtype=np.float32)
    reason = ["" if keep else "below_threshold" for keep in kept]
    return store.Verdict(found, found.scores / 2, np.array(kept, bool), reason, half, half / 2, weight)


def shard(names, verdicts):
    return store.to_table(names, verdicts, teacher="t", number=1)


SHARDS = [
    (0, shard(["a", "b"], [verdict([0, 1, 1], [True, False, True]), verdict([], [], 0.0)])),
    (1, shard(["c"], [verdict([1, 0], [False, False], 0.25)])),
    (2, shard(["d"], [verdict([1], [True], 0.5)])),
]


@pytest.fixture
def folder(tmp_path):
    list(write_shards(tmp_path, SHARDS, store.SCHEMA))
    store.write_manifest(tmp_path, CLASSES, teacher="t", number=1)
    return tmp_path


def test_kept_boxes_come_back_image_by_image(folder):
    boxes = store.read_boxes_of(folder, ["a", "b", "c", "d"])
    assert len(boxes) == 4
    np.testing.assert_array_equal(boxes.image_weight, [1, 0, 0.25, 0.5])
    places, labels, weight, place_weight = boxes[0]
    np.testing.assert_array_equal(places, [[0, 0, 10.5, 20], [2, 4, 12.5, 24]])
    np.testing.assert_array_equal(labels, [0, 1])
    np.testing.assert_array_equal(weight, [1, 0.5])
    np.testing.assert_array_equal(place_weight, [0.5, 0.25])
    assert [len(boxes[i].labels) for i in range(4)] == [2, 0, 0, 1]
    assert (places.dtype, labels.dtype, weight.dtype) == (np.float32, np.int64, np.float32)
    np.testing.assert_array_equal(boxes[3].places, [[0, 0, 10.5, 20]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(boxes))[3].labels, [1])  # for worker processes


@pytest.mark.parametrize("place", [-1, 4])
def test_there_is_no_other_image(folder, place):
    with pytest.raises(IndexError):
        store.read_boxes_of(folder, ["a", "b", "c", "d"])[place]


def test_every_found_box_is_in_the_store(folder):
    rows = read_table(folder, ["labels", "calibrated", "reason", "task", "view"]).to_pylist()
    assert rows[0]["reason"] == ["", "below_threshold", ""]
    assert rows[0]["calibrated"] == pytest.approx([0.45, 0.35, 0.25])
    assert [len(row["labels"]) for row in rows] == [3, 0, 2, 1]
    assert {(row["task"], row["view"]) for row in rows} == {("detection", "plain")}


def test_manifest_counts(folder):
    said = json.loads((folder / "manifest.json").read_text())
    assert (said["images"], said["images_with_boxes"], said["boxes"], said["kept"]) == (4, 2, 6, 3)
    assert said["per_class"] == {"cat": {"found": 2, "kept": 1}, "dog": {"found": 4, "kept": 2}}
    assert [row["rows"] for row in said["shards"]] == [2, 1, 1]


@pytest.mark.parametrize("ids", [["a", "b", "d", "c"], ["a", "b", "c"], ["a", "b", "c", "d", "e"]])
def test_boxes_of_another_pool_are_refused(folder, ids):
    with pytest.raises(BadInput, match="dvc repro"):
        store.read_boxes_of(folder, ids)


def test_a_store_that_is_not_what_its_manifest_says_is_refused(folder):
    path = folder / shard_name(2)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadInput, match=r"shard-00002.parquet has other bytes"):
        store.read_boxes_of(folder, ["a", "b", "c", "d"])
    path.unlink()
    with pytest.raises(BadInput, match=r"shard-00002.parquet is missing"):
        store.read_boxes_of(folder, ["a", "b", "c"])


def test_boxes_of_a_class_that_the_manifest_does_not_have_are_refused(folder):
    said = json.loads((folder / "manifest.json").read_text())
    del said["per_class"]["dog"]
    (folder / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="labels from 0 to 1, where 1 classes"):
        store.read_boxes_of(folder, ["a", "b", "c", "d"])


@pytest.mark.parametrize("column", ["boxes", "weights", "place_weights"])
def test_kept_boxes_of_no_number_are_refused(folder, column):
    path = folder / shard_name(2)
    content = pq.read_table(path).to_pydict()
    content[column] = [[[np.nan] * 4]] if column == "boxes" else [[np.nan]]
    pq.write_table(pa.table(content, schema=store.SCHEMA), path)
    store.write_manifest(folder, CLASSES, teacher="t", number=1)
    with pytest.raises(BadInput, match=rf"{folder} has kept boxes with a number that is not finite\. Run `dvc repro`"):
        store.read_boxes_of(folder, ["a", "b", "c", "d"])


@pytest.mark.parametrize("column", ["weights", "place_weights", "weight"])
def test_trust_below_0_is_refused(folder, column):
    """It would teach a detector not to see what is there."""
    path = folder / shard_name(2)
    content = pq.read_table(path).to_pydict()
    content[column] = [-0.5] if column == "weight" else [[-0.5]]
    pq.write_table(pa.table(content, schema=store.SCHEMA), path)
    store.write_manifest(folder, CLASSES, teacher="t", number=1)
    with pytest.raises(BadInput, match=r"it has a weight of -0\.5, and trust is 0 or more"):
        store.read_boxes_of(folder, ["a", "b", "c", "d"])


def test_an_unlabelled_pool(tmp_path):
    assert len(store.read_boxes_of(tmp_path, [])) == 0
    with pytest.raises(BadInput):
        store.read_boxes_of(tmp_path, ["a"])
    none = store.PseudoBoxes.none(3)
    assert len(none) == 3
    assert none.image_weight.tolist() == [0, 0, 0]
    assert none[2].places.shape == (0, 4)


def test_labelling_that_is_killed_and_continued_gives_equal_bytes(tmp_path, folder):
    again = tmp_path / "again"
    again.mkdir()

    def killed():
        yield SHARDS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(write_shards(again, killed(), store.SCHEMA))
    assert [path.name for path in again.iterdir()] == [shard_name(0)]
    rest = [one for one in SHARDS if not (again / shard_name(one[0])).exists()]
    list(write_shards(again, rest, store.SCHEMA))
    for number, _ in SHARDS:
        assert (again / shard_name(number)).read_bytes() == (folder / shard_name(number)).read_bytes()
    store.write_manifest(again, CLASSES, teacher="t", number=1)
    assert (again / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


def test_the_schema_survives_the_file(folder):
    assert pq.read_schema(folder / shard_name(0)).equals(store.SCHEMA)


def test_nothing_found_anywhere(tmp_path):
    list(write_shards(tmp_path, [(0, shard(["a", "b"], [verdict([], [])] * 2))], store.SCHEMA))
    store.write_manifest(tmp_path, CLASSES, teacher="t", number=1)
    boxes = store.read_boxes_of(tmp_path, ["a", "b"])
    assert boxes[1].places.shape == (0, 4)
    assert json.loads((tmp_path / "manifest.json").read_text())["boxes"] == 0


def test_a_kept_box_has_the_class_that_the_answer_gives_it_and_nothing_is_kept_no_longer():
    table = shard(["a", "b"], [verdict([0, 1, 1], [True, False, True]), verdict([], [], 0.0)])
    answers = iter(np.array([[0.1, 0.7, 0.2], [0.2, 0.2, 0.6]], np.float32))  # cat, dog, nothing
    named = store.renamed(table, iter(["a#0", "a#1"]), answers).to_pydict()
    assert named["labels"] == [[1, 1, 1], []]
    assert named["kept"] == [[True, False, False], []]
    assert named["reason"] == [["", "below_threshold", "nothing"], []]
    np.testing.assert_allclose(named["weights"][0], [0.7 / 0.8, 0.75, 0.0], rtol=1e-6)
    np.testing.assert_allclose(named["place_weights"][0], [0.5, 0.375, 0.0])
    assert named["weight"] == [1.0, 0.0]
    assert {name: named[name] for name in ("boxes", "scores", "calibrated")} == {
        name: table[name].to_pylist() for name in ("boxes", "scores", "calibrated")
    }


def test_what_a_person_marked_takes_the_place_of_what_was_found_of_classes_that_were_looked_for():
    given = Given(
        np.array([[1, 2, 3, 4], [5, 6, 9, 9]], np.float32), np.array([0, 0]), np.array([False, True]), np.ones(2)
    )
    said = store.completed(verdict([1, 1], [True, False], 0.5), given, np.array([True, False]))
    np.testing.assert_array_equal(said.found.places, [[1, 2, 3, 4], [5, 6, 9, 9], [0, 0, 10.5, 20], [1, 2, 11.5, 22]])
    assert said.found.labels.tolist() == [0, 0, 1, 1]
    assert said.kept.tolist() == [True, True, True, False]
    assert list(said.reason) == ["", "", "", "below_threshold"]
    assert list(said.searched) == [0]
    np.testing.assert_allclose(said.calibrated, [1, 1, 0.45, 0.25])
    np.testing.assert_allclose(said.weights, [1, 0, 1, 0.5])  # a group under one box is not believed
    np.testing.assert_allclose(said.place_weights, [1, 0, 0.5, 0.25])
    assert said.weight == 1.0
    table = store.to_table(["a"], [said], teacher="t", number=1)
    assert store.by_people(table).tolist() == [True, True, False, False]
    for answer, why, trust in ([0, 0, 1], "nothing", 0), ([0.5, 0.3, 0.2], "", 0.375), ([0, 1, 0], "", 1):
        named = store.renamed(table, iter(["a#0"]), iter(np.array([answer], np.float32))).to_pydict()
        assert named["kept"] == [[True, True, why == "", False]]  # a classifier of crops does not overrule a person
        assert named["reason"] == [["", "", why, "below_threshold"]]
        np.testing.assert_allclose(named["weights"][0], [1, 0, trust, 0.5], rtol=1e-6)  # cats are where they are marked
        assert named["labels"] == [[0, 0, 1, 1]]
        assert named["weight"] == [1.0]


def test_what_people_marked_is_told_by_row():
    found = verdict([0, 1, 0], [True, True, False])
    rows = [found._replace(searched=[1]), found, found._replace(searched=[0, 1])]
    people = store.by_people(store.to_table(["a", "b", "c"], rows, teacher="t", number=1))
    assert people.tolist() == [False, True, False] + [False] * 3 + [True, True, False]


def test_an_image_whose_boxes_are_all_nothing_is_not_learned_from():
    table = shard(["a"], [verdict([0], [True])])
    named = store.renamed(table, iter(["a#0"]), iter(np.array([[0.1, 0.1, 0.8]], np.float32)))
    assert named["weight"].to_pylist() == [0.0]


@pytest.mark.parametrize("names", [["b#0"], ["a#1"], []])
def test_answers_to_the_crops_of_other_boxes_are_refused(names):
    table = shard(["a"], [verdict([0], [True])])
    with pytest.raises(BadInput, match=r"where the boxes have a#0. Run `dvc repro box_crops`"):
        store.renamed(table, iter(names), iter(np.eye(3, dtype=np.float32)))
