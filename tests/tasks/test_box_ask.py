"""Boxes that people correct: which images they get, and how what they draw becomes labels."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from at_once import beside
from box_work import prepare
from pycocotools.coco import COCO
from small_work import contents

import tasks.box_answer
import tasks.box_ask
from tasks.answer import answer
from tasks.ask_params import AskParams
from tasks.box_ask import box_ask
from tasks.places import OURS
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.data.boxes import Found
from tutelage.data.coco_file import as_lines
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.scenes import Annotations, read_boxes
from tutelage.models.files import load_detector
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return root, prepare(root)[0]


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    """A working directory with images/ and a detector; params that ask about three of the seven images."""
    root, params = made
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # Roots are written relative to the working directory where the images were ingested.
    return replace(
        params, ask=AskParams(images=3, among=1), detection=replace(params.detection, split=split_of(params))
    )


def split_of(params):
    return replace(params.detection.split, images=None)


def split(params):
    ingested = scenes_ingest(Path("images"), params=params, out=Path("work/detection/ingest"))
    return scenes_split(ingested, params=params, out=Path("work/detection/split"))


def plant(monkeypatch, scores):
    """Let the detector find boxes of class 1 with these scores in the images of the pool, one list an image."""

    def find_each(table, parts, *_, **__):
        for rows in parts:
            said = [scores[int(table["id"][int(row)].as_py()[-6:-4])] for row in rows]
            yield [
                Found(np.array([[1, 2, 7, 6.5]] * len(one), np.float32).reshape(-1, 4), np.ones(len(one), np.int64),
                      np.array(one, np.float32)) for one in said
            ]  # fmt: skip

    monkeypatch.setattr(tasks.box_ask, "find_each", find_each)


def asked(params, monkeypatch, scores=((0.9,), (0.45, 0.95), (0.1,), (), (0.5, 0.3), (0.7,), (0.99,))):
    plant(monkeypatch, scores)
    return box_ask(split(params), Path("work/detection/teacher"), params=params, out=Path("ask"))


def load(path="ask/ask.json"):
    return json.loads(Path(path).read_text())


def save(content):
    Path("ask/ask.json").write_text(json.dumps(content))


def ids(out):
    return [about["id"] for _, about in sorted(json.loads((out / "asked.json").read_text())["images"].items())]


def test_an_image_is_as_undecided_as_its_least_decided_box(world, monkeypatch):
    out = asked(world, monkeypatch)
    assert ids(out) == ["pool/pool/04.png", "pool/pool/01.png", "pool/pool/05.png"]  # 0, 0.05 and 0.2 from 0.5
    found = load()
    assert [one["file_name"] for one in found["images"]] == ["0001.png", "0002.png", "0003.png"]
    assert [(one["image_id"], one["score"]) for one in found["annotations"]] == [
        (1, 0.5), (1, 0.3), (2, 0.45), (2, 0.95), (3, 0.7)
    ]  # fmt: skip
    assert found["annotations"][0] | {"score": 0} == {
        "id": 1, "image_id": 1, "category_id": 2, "bbox": [1.0, 2.0, 6.0, 4.5], "area": 27.0, "iscrowd": 0, "score": 0
    }  # fmt: skip
    assert found["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert (out / "images/0002.png").read_bytes() == Path("images/pool/01.png").read_bytes()
    assert len(COCO(str(out / "ask.json")).getAnnIds()) == 5


def test_what_is_far_below_its_threshold_is_no_suggestion(world, monkeypatch):
    asked(world, monkeypatch, ((0.51,), (0.24,), (0.52,), (0.26,), (), (), ()))
    assert [one["score"] for one in load()["annotations"]] == [0.51, 0.52, 0.26]


def test_thresholds_are_those_of_a_calibration(world, monkeypatch):
    plant(monkeypatch, ((0.9,), (0.45,), (0.1,), (), (0.5,), (0.7,), (0.99,)))
    teacher = Path("work/detection/teacher")
    rules = {
        "teacher": load_detector(teacher / "model.safetensors")[1].sha256, "looks": 1, "rule": "count",
        "scale": 1.0, "shift": 0.0, "classes": [{"threshold": None}, {"threshold": 0.9}],
    }  # fmt: skip
    Path("rules").mkdir()
    Path("rules/calibration.json").write_text(json.dumps(rules))
    out = box_ask(split(world), teacher, Path("rules"), params=world, out=Path("ask"))
    assert ids(out) == ["pool/pool/00.png", "pool/pool/06.png", "pool/pool/05.png"]  # 0.9, 0.99 and 0.7
    Path("rules/calibration.json").write_text(json.dumps(rules | {"teacher": "another"}))
    with pytest.raises(BadInput, match="made for another model"):
        box_ask(Path("work/detection/split"), teacher, Path("rules"), params=world, out=Path("other"))
    Path("rules/calibration.json").write_text(json.dumps(rules | {"looks": 2}))
    with pytest.raises(BadInput, match=r"rules was made with 2 ways to look at an image, detection\.label asks for 1"):
        box_ask(Path("work/detection/split"), teacher, Path("rules"), params=world, out=Path("other"))


def test_corrected_boxes_are_labels_in_the_next_split(world, monkeypatch):
    out = asked(world, monkeypatch)
    names, before = ids(out), load("images/labelled.json")
    content = load()
    content["images"] = [one | {"file_name": f"images/{one['file_name']}"} for one in content["images"][:2]]
    drawn = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [3, 3, 8, 9], "area": 72, "iscrowd": 0}
    save(content | {"annotations": [drawn], "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}]})
    said = answer(out, params=world)
    assert said[:2] == ["2 image(s) with 1 object(s) added to images/labelled.json", "0 were there already"]
    after = load("images/labelled.json")
    assert after["images"][:8] == before["images"]
    assert after["annotations"][: len(before["annotations"])] == before["annotations"]
    assert [one["id"] for one in after["images"][8:]] == [8, 9]
    assert [(one["id"], one["image_id"], one["category_id"]) for one in after["annotations"][16:]] == [(16, 8, 10)]
    found = split(world)
    table = read_split(found)
    rows = {row["sha256"]: place for place, row in enumerate(table.to_pylist())}
    roles, boxes = table["role"].to_pylist(), Annotations.of(table, read_boxes(found))
    there = [rows[hashlib.sha256((Path("images") / name[5:]).read_bytes()).hexdigest()] for name in names]
    assert [roles[row] in ("labelled", "holdout") for row in there] == [True, True, False]
    assert boxes[there[0]].places.tolist() == [[3, 3, 11, 12]]
    assert boxes[there[1]].places.tolist() == []  # somebody looked, and there is nothing
    assert classes_of(table) == ["cat", "dog"]
    kept = contents(Path("images"))
    assert answer(out, params=world) == ["0 image(s) with 0 object(s) added to images/labelled.json",
                                         "2 were there already, and their objects stay as they are there"]  # fmt: skip
    assert contents(Path("images")) == kept


def test_answers_go_to_the_file_that_has_the_categories_of_all(world, monkeypatch):
    out, before = asked(world, monkeypatch), load("images/labelled.json")
    Path("images/cows.json").write_text(json.dumps(before | {"images": [], "annotations": [],
                                                             "categories": [{"id": 5, "name": "cow"}]}))  # fmt: skip
    several = replace(world.detection.ingest, labelled=["labelled.json", "cows.json"])
    params = replace(world, detection=replace(world.detection, ingest=several))
    save(load() | {"annotations": []})
    with pytest.raises(
        BadInput, match=r"answers are of all classes \(cat, cow, dog\), and no file of detection\.ingest\.labelled is"
    ):
        answer(out, params=params)
    full = before | {"images": [], "annotations": [], "categories": [*before["categories"], {"id": 5, "name": "cow"}]}
    Path("images/all.json").write_text(json.dumps(full))
    several = replace(several, labelled=["labelled.json", "cows.json", "all.json"])
    said = answer(out, params=replace(world, detection=replace(world.detection, ingest=several)))
    assert said[0] == "3 image(s) with 0 object(s) added to images/all.json"
    assert load("images/labelled.json") == before


@pytest.mark.parametrize("saved", [lambda content: None, lambda content: save(exported(content))])
def test_suggestions_that_nobody_has_looked_at_are_no_labels(world, monkeypatch, saved):
    out = asked(world, monkeypatch)
    saved(load())
    with pytest.raises(BadInput, match=r"is as it was written, and its boxes are the model's own"):
        answer(out, params=world)


def exported(content):
    """As Label Studio writes it: numbers from 0, names with a part of a hash, boxes from shares of a side."""
    return {
        "images": [one | {"id": one["id"] - 1, "file_name": f"images\\3f2b8c1{one['id']}-{one['file_name']}"}
                   for one in content["images"]],
        "categories": [{"id": one["id"] - 1, "name": one["name"]} for one in content["categories"]],
        "annotations": [
            {"id": number, "image_id": one["image_id"] - 1, "category_id": one["category_id"] - 1, "segmentation": [],
             "bbox": [value / 100 * 100.001 for value in one["bbox"]], "area": one["area"], "ignore": 0, "iscrowd": 0}
            for number, one in enumerate(content["annotations"][::-1])
        ],
    }  # fmt: skip


def test_what_a_program_exports_is_taken_and_boxes_as_they_were_are_told(world, monkeypatch):
    out = asked(world, monkeypatch)
    content = exported(load())
    content["annotations"][0]["bbox"][2] += 0.5  # of the third image, whose only box it is
    save(content)
    said = answer(out, params=world)
    assert said[0] == "3 image(s) with 5 object(s) added to images/labelled.json"
    assert said[2].startswith("2 of them have the detector's boxes as they were, the first is pool/04-")
    assert len(COCO("images/labelled.json").getAnnIds()) == 16 + 5
    assert not any("detector's boxes" in line for line in answer(out, params=world))


def test_a_scene_without_suggestions_may_stay_without_objects(world, monkeypatch):
    out = asked(world, monkeypatch, ((),) * 7)
    with pytest.raises(BadInput, match="is as it was written"):
        answer(out, params=world)
    save(load())
    assert answer(out, params=world)[0].startswith("3 image(s) with 0 object(s) added")


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        (
            "images",
            {"width": 6, "height": 6},
            r"images\[0\] \(0001\.png\) says 6 x 6, and the image has [0-9]+ x [0-9]+ pixels",
        ),
        ("images", {"id": 2}, r"images\[1\] has the id of another image"),
        ("categories", {"id": 2}, r"categories\[1\] has the id of another category"),
        (
            "annotations",
            {"bbox": [100, 2, 3, 4]},
            r"annotations\[0\] has the box \[100, 2, 3, 4\], outside of its image",
        ),
        ("annotations", {"iscrowd": 7}, r"annotations\[0\] has iscrowd 7\. Write 0, or 1"),
        ("annotations", {"bbox": [], "segmentation": "x"}, "its segmentation is neither polygons nor run lengths"),
    ],
)
def test_what_ingest_would_leave_out_is_told_before_anything_is_added(world, monkeypatch, part, change, words):
    out = asked(world, monkeypatch)
    content, before = load(), contents(Path("images"))
    content[part][0] |= change
    save(content)
    with pytest.raises(BadInput, match=words):
        answer(out, params=world)
    assert contents(Path("images")) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category_id": 9}, r"annotations\[0\] has the category 9, which is not in `categories`"),
        ({"image_id": 9}, r"annotations\[0\] is of image 9, which is not in `images`"),
        ({"bbox": [1, 2, 0, 4]}, r"annotations\[0\] has the box \[1, 2, 0, 4\]"),
        (
            {"category_id": 3},
            r"annotations\[0\] is a 'cow', which is no class; there are: cat, dog\. --new 'cow' makes",
        ),
    ],
)
def test_what_is_no_object_is_told_and_nothing_is_added(world, monkeypatch, change, words):
    out = asked(world, monkeypatch)
    content = load()
    content["annotations"][0] |= change
    content["categories"].append({"id": 3, "name": "cow"})
    save(content)
    before = contents(Path("images"))
    with pytest.raises(BadInput, match=words):
        answer(out, params=world)
    assert contents(Path("images")) == before


def test_a_new_class_gets_a_number_of_its_own(world, monkeypatch):
    out = asked(world, monkeypatch)
    content = load()
    content["annotations"][0] |= {"category_id": 3}
    content["categories"].append({"id": 3, "name": "cow"})
    save(content)
    answer(out, params=world, new=["cow"])
    after = load("images/labelled.json")
    assert after["categories"][-1] == {"id": 21, "name": "cow"}
    assert after["annotations"][16]["category_id"] == 21
    assert "score" not in after["annotations"][16]
    assert classes_of(read_split(split(replace(world, detection=replace(
        world.detection, ingest=replace(world.detection.ingest, test=None)))))) == ["cat", "cow", "dog"]  # fmt: skip


def test_of_two_who_correct_boxes_at_once_both_are_heard(world, monkeypatch):
    out, content = asked(world, monkeypatch), load()
    before = [one["file_name"] for one in load("images/labelled.json")["images"]]
    shutil.copytree(out, "other")
    save(content | {"images": content["images"][:1], "annotations": content["annotations"][:1]})
    Path("other/ask.json").write_text(json.dumps(content | {"images": content["images"][1:2], "annotations": []}))
    ends = beside(monkeypatch, tasks.box_answer, lambda: answer(Path("other"), params=world))
    answer(out, params=world)
    ends()
    after = load("images/labelled.json")
    assert [one["file_name"] for one in after["images"][: len(before)]] == before
    assert len({one["id"] for one in after["images"]}) == len(before) + 2


def test_what_init_wrote_is_the_users_own_from_now_on(world, monkeypatch):
    out = asked(world, monkeypatch)
    path = Path("images/labelled.json")
    path.write_bytes(OURS + path.read_bytes().removeprefix(b"{"))
    save(load() | {"annotations": []})
    answer(out, params=world)
    assert "info" not in load(path)
    assert not path.read_bytes().startswith(OURS)


def test_a_budget_of_scenes_and_a_domain_are_told(world, monkeypatch):
    out = asked(world, monkeypatch)
    save(load() | {"annotations": []})
    with pytest.raises(BadInput, match="boxes are of one place"):
        answer(out, params=world, domain="night")
    few = replace(world.detection, split=replace(world.detection.split, images=8))
    said = answer(out, params=replace(world, detection=few))
    assert any("detection.split.images is 8: where there are more" in line for line in said)


def test_chance_asks_no_detector_for_an_order(world, monkeypatch):
    out = asked(replace(world, ask=AskParams(images=3, by="random")), monkeypatch)
    assert ids(out) != ["pool/pool/04.png", "pool/pool/01.png", "pool/pool/05.png"]


def test_somebodys_json_keeps_all_that_is_in_it():
    content = {"licenses": [], "info": {"a": "é"}, "images": [{"id": 1, "own": [1, 2]}], "x": [1, "b"]}
    assert json.loads(as_lines(content)) == content
    assert list(json.loads(as_lines(content))) == list(content)


def test_near_copies_are_corrected_once(world, monkeypatch):
    picture = Path("images/pool/00.png").read_bytes()
    for number in (1, 2):  # other bytes, the same thumbnail
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        pixels[0, 0] += np.uint8(number)
        cv2.imwrite(f"images/pool/0{number}.png", pixels)
    params = replace(world, ask=AskParams(images=3, among=2))
    out = asked(params, monkeypatch, ((0.52,), (0.51,), (0.53,), (0.6,), (0.7,), (0.8,), (0.9,)))
    assert ids(out)[0] == "pool/pool/01.png"
    assert not {"pool/pool/00.png", "pool/pool/02.png"} & set(ids(out))


def test_scenes_whose_boxes_were_only_hidden_cannot_be_answered(world, monkeypatch):
    out = asked(world, monkeypatch)
    told = load("ask/asked.json")
    for about in told["images"].values():
        about["id"] = about["id"].replace("pool/", "labelled/", 1)
    (out / "asked.json").write_text(json.dumps(told))
    save(load() | {"annotations": []})
    with pytest.raises(BadInput, match=r"is labelled already, and its label hidden by detection\.split\.images"):
        answer(out, params=world)
