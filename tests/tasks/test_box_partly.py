"""Sets that were each marked for their own classes: their images are labelled ones, and of the pool as well."""

import dataclasses

import numpy as np
import pytest
from box_work import labelled, named, small
from project import known
from scene_work import coco_set

from tasks.box_export import box_export
from tasks.box_guard import box_guard
from tasks.box_student import box_student
from tasks.box_training import pool_rows
from tasks.detector import detector
from tasks.io import read_json
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.data.manifest import read_split
from tutelage.data.pseudo_boxes import by_people, by_row, flat, read_boxes_of
from tutelage.data.pseudo_labels import read_table
from tutelage.data.scene_batches import SceneSource


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """Five images marked for cats and four for dogs, two of the pool that nobody marked: params and the folder."""
    monkeypatch.chdir(tmp_path)
    sets = (("cats", 5, 0, ("cat",)), ("dogs", 4, 20, ("dog",)), ("pool", 2, 40, ("cat", "dog")))
    for name, number, start, classes in (*sets, ("test", 2, 60, ("cat", "dog"))):
        coco_set(tmp_path / "images", name, number, start=start, classes=classes)
    found = small(known()).detection
    two = dataclasses.replace(found.ingest, labelled=["cats.json", "dogs.json"])
    params = small(known(), ingest=two, split=dataclasses.replace(found.split, images=None, holdout=0.0))
    return params, tmp_path / "work/detection"


def prepared(params, folder):
    scenes_split(
        scenes_ingest(folder.parents[1] / "images", params=params, out=folder / "ingest"), params=params,
        out=folder / "split",
    )  # fmt: skip
    detector(folder / "split", params=params, out=folder / "teacher")
    return read_split(folder / "split")


def kept_by(store):
    """Places of the kept boxes of each row, by who marked them."""
    kept, ends = flat(store["kept"], np.bool_)
    people = by_people(store)
    rows = zip(by_row(people, ends), by_row(kept & ~people, ends), strict=True)
    return [{"person": np.flatnonzero(one), "teacher": np.flatnonzero(two)} for one, two in rows]


def test_they_have_what_a_person_marked_and_what_the_teacher_finds_of_the_other_class(apart, monkeypatch):
    params, folder = apart
    table = prepared(params, folder)
    rows = pool_rows(folder / "split", table)
    assert [table["role"][int(row)].as_py() for row in rows] == ["pool"] * 2 + ["labelled"] * 9
    ids = [table["id"][int(row)].as_py() for row in rows]
    labels = named(params, folder, labelled(params, folder, folder / "rounds/1/labels"))
    store = read_table(labels, ["id", "labels", "kept", "searched"])
    for name, row, people in zip(store["id"].to_pylist(), store["labels"].to_pylist(), kept_by(store), strict=True):
        own = {"cats": 0, "dogs": 1}.get(name.split("/")[1])
        assert [row[place] for place in people["person"]] == ([] if own is None else [own])
        assert own not in [row[place] for place in people["teacher"]]
    manifest = read_json(labels / "manifest.json")
    assert manifest["kept"] == sum(len(each["teacher"]) for each in kept_by(store)) > 0
    boxes = read_boxes_of(labels, ids)
    np.testing.assert_array_equal(boxes[2].places[0], [0, 2, 6, 6])
    assert boxes[2].weight[0] == boxes[2].place_weight[0] == 1.0
    seen, source = [], SceneSource.__getitem__
    monkeypatch.setattr(SceneSource, "__getitem__", lambda self, step: seen.append(source(self, step)) or seen[-1])
    wanted = dataclasses.replace(params.detection.student, steps=6)
    longer = dataclasses.replace(params, detection=dataclasses.replace(params.detection, student=wanted))
    student = box_student(folder / "split", folder / "teacher", labels, params=longer, out=folder / "rounds/1/student")
    assert {int(place) for batch in seen for place in batch.pool.ids} == set(range(11))
    guard = box_guard(folder / "split", folder / "teacher", labels, student, params=longer, out=folder / "guard")
    assert read_json(guard / "guard.json")["verdict"] in ("accept", "weaken", "stop")
    exported = read_json(box_export(folder / "split", labels, params=params, out=folder / "coco") / "pseudo_boxes.json")
    assert len(exported["images"]) == sum(len(boxes[place].labels) > 0 for place in range(11))


def test_without_a_pool_they_are_all_of_it(apart):
    params, folder = apart
    own = dataclasses.replace(params.detection.ingest, pool=None)
    params = dataclasses.replace(params, detection=dataclasses.replace(params.detection, ingest=own))
    table = prepared(params, folder)
    assert len(pool_rows(folder / "split", table)) == 9
    notes = read_json(folder / "split/report.json")["notes"]
    assert not any("The pool is empty" in note for note in notes)
    assert any("they join the pool" in note for note in notes)
    labels = named(params, folder, labelled(params, folder, folder / "rounds/1/labels"))
    student = box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")
    assert not (student / "passed.json").exists()


def test_images_that_were_searched_for_all_stay_out_of_the_pool(apart):
    params, folder = apart
    coco_set(folder.parents[1] / "images", "cats", 5, classes=("cat", "dog"))
    own = dataclasses.replace(params.detection.ingest, labelled="cats.json")
    params = dataclasses.replace(params, detection=dataclasses.replace(params.detection, ingest=own))
    table = prepared(params, folder)
    assert [table["role"][int(row)].as_py() for row in pool_rows(folder / "split", table)] == ["pool"] * 2
