"""Objects cut out of scenes, and the names that a classifier of them gives to the pool's boxes."""

import dataclasses
import shutil
import weakref

import numpy as np
import pyarrow.parquet as pq
import pytest
from box_work import labelled, named, prepare
from interrupted import interrupted
from small_work import contents

import tasks.box_names as naming
from tasks.box_answers import kept_boxes, read_store
from tasks.box_crops import box_crops
from tasks.box_names import box_names
from tasks.io import read_json
from tutelage.data.crops import NOTHING, cut_out
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.files import load_model
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A teacher and the boxes that it finds in the pool."""
    root = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(root)
        params, folder = prepare(root)
        labelled(params, folder, folder / "rounds/1/labels")
    return params, folder


@pytest.fixture
def work(begun, tmp_path, monkeypatch):
    """A copy of them, in the current folder."""
    params, folder = begun
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(folder, tmp_path / "work/detection")
    return params, copy, copy / "rounds/1/labels"


def with_names(params, names):
    return dataclasses.replace(params, detection=dataclasses.replace(params.detection, names=names))


def test_objects_of_labelled_scenes_and_boxes_of_the_pool_become_a_split(work):
    params, folder, labels = work
    crops = box_crops(folder / "split", labels, params=params, out=folder / "rounds/1/crops")
    table, scenes = read_split(crops), read_split(folder / "split")
    assert classes_of(table) == ["cat", "dog", NOTHING]
    rows = list(zip(*(table[name].to_pylist() for name in ("id", "role", "label")), strict=True))
    marked = [(name, label) for name, role, label in rows if role == "labelled" and label != 2]
    of_scenes = [
        name for name, role in zip(*(scenes[c].to_pylist() for c in ("id", "role")), strict=True)
        if role in ("labelled", "holdout")
    ]  # fmt: skip
    assert sorted(marked) == sorted((f"{name}#{label}", label) for name in of_scenes for label in (0, 1))
    assert 0 < sum(label == 2 for _, _, label in rows) <= 8  # 16 objects of two classes
    store = read_store(labels)
    boxes = [
        f"{name}#{n}"
        for name, each in zip(store["id"].to_pylist(), kept_boxes(store), strict=True)
        for n in range(len(each.labels))
    ]
    assert [name for name, role, _ in rows if role == "pool"] == boxes != []
    row = scenes["id"].to_pylist().index(of_scenes[0])  # its first object is at 0, 2 and 6 by 4 pixels
    image = Images.open(scenes, 16).original(row)
    seen = Images.open(table, 12)[table["id"].to_pylist().index(f"{of_scenes[0]}#0")]
    np.testing.assert_array_equal(seen, cut_out(image, np.array([0, 2, 6, 6], np.float32), 12, 0.1))


def test_the_hold_out_is_not_learned_from_where_the_round_keeps_it_apart(work, monkeypatch):
    params, folder, labels = work
    jobs, trained = [], naming.run
    monkeypatch.setattr(naming, "run", lambda job, *some, **more: jobs.append(job) or trained(job, *some, **more))
    apart = dataclasses.replace(params.detection.rounds[1], holdout=False)
    params = dataclasses.replace(params, detection=dataclasses.replace(params.detection, rounds={1: apart}))
    names = named(params, folder, labels)
    roles = read_split(folder / "rounds/1/crops")["role"].to_pylist()
    assert roles.count("holdout") >= 4  # two images with two objects
    assert {roles[row] for row in jobs[0].labeled} == {"labelled"}
    told = read_json(names / "names.json")
    assert told["holdout"] == roles.count("holdout")
    assert 0 <= told["holdout_accuracy"] <= 1
    assert f"Of {told['holdout']} crops of the hold-out" in (names / "report.md").read_text()


def test_boxes_have_the_names_that_the_classifier_says(work, monkeypatch):
    params, folder, labels = work
    asked = []

    def logits(network, images, chunks, **_):  # class 0, 1, nothing, 0, 1, ...
        ends = np.cumsum([len(rows) for rows in chunks])
        asked.append(sum(len(rows) for rows in chunks))
        yield from np.split(np.log(np.eye(3, dtype=np.float32)[np.arange(asked[-1]) % 3] * 0.9 + 0.05), ends[:-1])

    monkeypatch.setattr(naming, "logits", logits)
    names = named(params, folder, labels)
    before, after = (kept_boxes(read_store(each)) for each in (labels, names))
    total = sum(len(each.labels) for each in before)
    assert asked[0] == total > 3
    assert sum(len(each.labels) for each in after) == total - (total // 3)
    kept = np.concatenate([each.labels for each in after])
    np.testing.assert_array_equal(kept, np.arange(len(kept)) % 2)
    said = read_json(names / "manifest.json")
    assert (said["teacher"], said["round"]) == tuple(
        read_json(labels / "manifest.json")[k] for k in ("teacher", "round")
    )
    assert said["kept"] == len(kept)
    assert load_model(names / "model.safetensors")[1].classes == ["cat", "dog", NOTHING]


def test_answers_to_crops_do_not_pile_up(work, monkeypatch):
    params, folder, labels = work
    params = dataclasses.replace(params, evaluate=dataclasses.replace(params.evaluate, batch=4))
    renamed, given, alive = naming.renamed, [], []

    def watched(answers):
        for each in answers:
            if not given or given[-1]() is not each.base:
                given.append(weakref.ref(each.base))
            alive.append(sum(chunk() is not None for chunk in given))
            yield each

    monkeypatch.setattr(naming, "renamed", lambda shard, names, answers: renamed(shard, names, watched(answers)))
    names = named(params, folder, labels)
    assert len(given) >= 4
    assert max(alive) <= 2
    assert read_json(names / "manifest.json")["boxes"] == read_json(labels / "manifest.json")["boxes"]


def test_without_names_the_boxes_stay_as_they_are(work):
    params, folder, labels = work
    names = named(with_names(params, None), folder, labels)
    assert contents(names) == contents(labels)
    with pytest.raises(BadInput, match=r"made without detection.names. Run `dvc repro`"):
        box_names(labels, folder / "rounds/1/crops", params=params, out=folder / "rounds/1/names")


def test_a_classifier_that_is_cut_off_goes_on_and_the_boxes_are_equal_byte_by_byte(work):
    params, folder, labels = work
    saved = dataclasses.replace(params, compute=dataclasses.replace(params.compute, checkpoint_seconds=0.0))
    whole = contents(named(saved, folder, labels))
    with interrupted(2):
        box_names(labels, folder / "rounds/1/crops", params=saved, out=folder / "rounds/1/again")
    assert not (folder / "rounds/1/again").exists()
    again = box_names(labels, folder / "rounds/1/crops", params=saved, out=folder / "rounds/1/again")
    assert contents(again) == whole


def test_scenes_without_any_object_teach_no_names(work):
    params, folder, labels = work
    empty = folder / "split/boxes.parquet"
    pq.write_table(pq.read_table(empty).slice(0, 0), empty)
    with pytest.raises(BadInput, match="no labelled scene has an object"):
        box_crops(folder / "split", labels, params=params, out=folder / "rounds/1/crops")


def test_a_pool_of_which_no_box_is_kept_is_named_too(work):
    params, folder, _ = work
    sure = dataclasses.replace(params.detection.calibrate, floor=1.0, cap=1.0)
    params = dataclasses.replace(params, detection=dataclasses.replace(params.detection, calibrate=sure))
    labels = labelled(params, folder, folder / "rounds/1/few")
    assert read_json(labels / "manifest.json")["kept"] == 0
    names = named(params, folder, labels)
    assert read_json(names / "manifest.json") == read_json(labels / "manifest.json") | {
        "shards": read_json(names / "manifest.json")["shards"]
    }
    assert read_json(names / "names.json") == {"boxes": 0, "holdout": 0, "holdout_accuracy": None}
