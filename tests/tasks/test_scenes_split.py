import json
import re
from collections import Counter

import pytest
from own_images import save
from PIL import Image
from scene_work import coco_set, detection, write

from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.scenes import read_boxes, read_known
from tutelage.data.split import _shared
from tutelage.types import BadInput


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    coco_set(root, "labelled", 12, bare=[3])
    coco_set(root, "pool", 5, start=100, bare=[1])
    coco_set(root, "test", 4, start=200)
    return root


def run(root, out="split", **wanted):
    wanted = {"pool": "pool.json", "test": "test.json"} | wanted
    ingested = scenes_ingest(root, params=detection(**wanted), out=root.parent / "ingest")
    return scenes_split(ingested, params=detection(**wanted), out=root.parent / out)


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_roles_and_who_sees_which_objects(root):
    out = run(root, split={"images": 8})
    table = read_split(out)
    roles = dict(zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True))
    assert Counter(roles.values()) == {"labelled": 6, "holdout": 2, "pool": 9, "test": 4}
    assert classes_of(table) == ["cat", "dog"]
    assert set(table["label"].to_pylist()) == {None}
    seen, hidden = (set(read_boxes(out, name)["id"].to_pylist()) for name in ("boxes.parquet", "truth.parquet"))
    bare = {"labelled/labelled/03.png", "pool/pool/01.png"}
    assert seen == {name for name, role in roles.items() if role != "pool"} - bare
    assert hidden == {name for name, role in roles.items() if role == "pool"} - bare
    assert read_known(out) == sorted(name for name, role in roles.items() if role == "pool")
    assert report(out)["images"] == {"labelled": 6, "holdout": 2, "pool": 9, "test": 4}
    assert "note" not in (out / "report.md").read_text().splitlines()[0]


def test_that_photographs_were_not_compared_for_near_duplicates_is_a_note(root):
    said = "were not looked for"
    assert said not in (run(root) / "report.md").read_text()
    for name in ("labelled", "pool", "test"):
        content = json.loads((root / f"{name}.json").read_text())
        for place, image in enumerate(content["images"]):
            image |= {"width": 112, "height": 112}
            save(root / image["file_name"], 1000 * ord(name[0]) + place, size=112)
        write(root, name, content)
    assert "Write detection.ingest.near_duplicates: 4" in (run(root) / "report.md").read_text()
    assert said not in (run(root, near_duplicates=4) / "report.md").read_text()


def test_what_is_unknown_of_the_pool_is_not_known_to_be_empty(root):
    save(root / "more/x.png", 999)
    out = run(root, pool="more")
    assert read_known(out) == []
    assert read_boxes(out, "truth.parquet").num_rows == 0
    assert read_split(out)["role"].to_pylist().count("pool") == 1


def test_a_test_that_shows_nothing_is_refused_before_training(root):
    coco_set(root, "test", 4, start=200, bare=range(4))
    with pytest.raises(BadInput, match="No test image shows an object, so no detector could be measured"):
        run(root)


def test_a_test_of_which_one_image_or_group_shows_objects_gets_a_note(root):
    said = "All objects of the test are in one unit ({}): what two detectors differ by"
    coco_set(root, "test", 4, start=200, bare=[2, 3])
    assert "All objects" not in (run(root, "two") / "report.md").read_text()
    together = {"groups": "labelled/..|test/0(?=[01])"}
    assert told(run(root, "group", split=together), said.format("group test/0"))
    coco_set(root, "test", 4, start=200, bare=range(3))
    assert told(run(root, "image"), said.format("image test/test/03.png"))


def test_domains_that_were_marked_for_one_class_each_get_a_note(root):
    content, said = (
        json.loads((root / "labelled.json").read_text()),
        "Images of the domains street and town show no class",
    )
    for image in content["images"]:
        image["domain"] = ("street", "town")[image["id"] % 2]
    write(root, "labelled", content)
    assert "Images of the domains" not in (run(root, "both") / "report.md").read_text()
    content["annotations"] = [
        one for one in content["annotations"] if one["category_id"] == 10 + 10 * (one["image_id"] % 2)
    ]
    write(root, "labelled", content)
    assert told(run(root, "apart"), said)
    content["annotations"] += [
        {"id": 1000 + image["id"], "image_id": image["id"], "category_id": 20 - 10 * (image["id"] % 2),
         "bbox": [0, 0, 16, 16], "iscrowd": 1} for image in content["images"]
    ]  # fmt: skip
    write(root, "labelled", content)
    assert "Images of the domains" not in (run(root, "crowds") / "report.md").read_text()


def test_what_nobody_looked_for_is_told_and_is_no_crowd(root):
    coco_set(root, "owls", 4, start=500, classes=("owl",), bare=[0])
    said_of = report(run(root, "several", labelled=["labelled.json", "owls.json"]))
    (said,) = [note for note in said_of["notes"] if "nobody looked for" in note and "labelled images" in note]
    marked = said_of["images"]["labelled"]
    owls = int(re.search(r"cat in (\d+)", said)[1])
    assert said.startswith(f"Of {marked} labelled images nobody looked for cat in {owls}, dog in {owls}, owl in ")
    assert f"owl in {marked - owls}:" in said
    assert not any("crowds" in note for note in said_of["notes"])
    assert any("Images without any object" in note for note in said_of["notes"])


def test_sets_that_were_searched_for_other_classes_share_images_holdout_and_test_by_their_sizes(root):
    coco_set(root, "owls", 4, start=500, classes=("owl",), bare=[0])
    lists = {"labelled": ["labelled.json", "owls.json"]}
    half = {"images": 8, "holdout": 0.5}
    table = read_split(run(root, "several", **lists, split=half))
    drawn = Counter((row["id"].split("/")[1], row["role"]) for row in table.select(["id", "role"]).to_pylist())
    assert {key: number for key, number in drawn.items() if key[0] in ("labelled", "owls")} == {
        ("labelled", "labelled"): 3, ("labelled", "holdout"): 3, ("labelled", "pool"): 6,
        ("owls", "labelled"): 1, ("owls", "holdout"): 1, ("owls", "pool"): 2,
    }  # fmt: skip
    for seed in range(6):  # a set of few images has one of the test, whatever the hashes say
        apart = run(root, f"test-{seed}", seed=seed, **lists, test=None, split={"images": None, "test_fraction": 0.2})
        table = read_split(apart)
        assert {row["id"].split("/")[1] for row in table.to_pylist() if row["role"] == "test"} == {"labelled", "owls"}


def test_a_pattern_of_slices_that_finds_nothing_is_told_before_the_training(root):
    run(root, "found", slices="(test)/")
    with pytest.raises(
        BadInput, match=r"detection\.judge\.slices \(night\) finds nothing in the path of any test image"
    ):
        run(root, "nothing", slices="night")


@pytest.mark.parametrize(("budget", "shares"), [(1, [1, 0, 0]), (3, [1, 1, 1]), (10, [7, 2, 1]), (99, [60, 20, 10])])
def test_a_budget_is_shared_by_sizes_and_each_has_one_first(budget, shares):
    shared = _shared({"a": 60, "b": 20, None: 10}, budget)
    assert [shared[kind] for kind in ("a", "b", None)] == shares


def test_scenes_that_are_stored_turned_are_a_note(root):
    exif = Image.Exif()
    exif[0x0112] = 3
    for name in ("labelled/02", "test/01"):
        save(root / f"{name}.png", int(name[-2:]) + 700, exif=exif)
    notes = report(run(root))["notes"]
    [note] = [note for note in notes if "EXIF" in note]
    assert note.startswith("2 images are stored turned or mirrored (EXIF), such as labelled/labelled/02.png: they are")


def test_two_draws_are_equal_bytes_and_a_seed_changes_them(root):
    one, two, three = (run(root, name, seed=seed, split={"images": 8}) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    for file in ("split.parquet", "boxes.parquet", "truth.parquet", "known.parquet"):
        assert (one / file).read_bytes() == (two / file).read_bytes() != (three / file).read_bytes()


def test_new_images_leave_the_test_alone(root):
    def test_images(name):
        table = read_split(run(root, name, test=None))
        return {row["sha256"] for row in table.to_pylist() if row["role"] == "test"}

    before = test_images("one")
    coco_set(root, "labelled", 30)
    assert before
    assert before <= test_images("two")


def told(out, *fragments):
    notes = report(out)["notes"]
    return all(any(fragment in note for note in notes) for fragment in fragments)


def test_a_problem_is_told_with_what_was_refused(root):
    content = json.loads((root / "labelled.json").read_text())
    for each in content["annotations"]:
        each["category_id"] += 1
    write(root, "labelled", content)
    with pytest.raises(BadInput, match="note: 22 objects were refused, such as labelled"):
        run(root)


def test_what_is_odd_gets_a_note(root, capsys):
    content = json.loads((root / "labelled.json").read_text())
    content["annotations"] += [
        {"id": 90, "image_id": 0, "category_id": 10, "bbox": [0, 0, 1, 8]},
        {"id": 91, "image_id": 0, "category_id": 10, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 92, "image_id": 0, "category_id": 10, "bbox": [0, 0, 0, 9]},
        {"id": 93, "image_id": 0, "category_id": 10, "bbox": [8, 8, 99, 9]},
    ]
    write(root, "labelled", content)
    out = run(root, split={"holdout": 0.0})
    assert told(
        out, "fewer than 20 objects to train on: cat (13), dog (11)", "The hold-out is empty",
        "Images without any object, which are kept as such: 1 labelled",
        "1 objects are crowds", "1 objects have a side below 2 pixels at 16 x 16, such as in labelled/labelled/00.png",
        "1 objects were refused, such as labelled.json: annotations[24] (id 92)", "1 records were mended",
    )  # fmt: skip
    assert "note: The hold-out is empty" in capsys.readouterr().out
    assert "below 2 pixels" not in (run(root, "large", image_size=32) / "report.md").read_text()
    assert told(run(root, "alone", pool=None), "The pool is empty")


def test_more_objects_than_a_detector_answers_get_a_note(root):
    content = json.loads((root / "labelled.json").read_text())
    content["annotations"] += [
        {"id": 90 + k, "image_id": k % 2, "category_id": 10, "bbox": [k, k, 9, 9], "iscrowd": k // 4}
        for k in range(6)
    ]  # fmt: skip
    write(root, "labelled", content)
    note = "2 images show more objects than a detector answers (detection.network.max_detections is 3), such as"
    assert told(run(root, max_detections=3), f"{note} labelled/labelled/00.png with 4: it cannot find them all")
    assert "more objects than" not in (run(root, "more", max_detections=4) / "report.md").read_text()


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_a_precision_without_a_holdout_to_prove_it_on_stops_it(root, share):
    with pytest.raises(
        BadInput, match=r"no hold-out image.*Raise detection\.split\.holdout or \.images, or write rule: count"
    ):
        run(root, rule="precision", split={"holdout": share})
    assert report(run(root, rule="precision"))["images"]["holdout"] == 3


def test_a_class_without_an_object_to_train_on_stops_it(root):
    coco_set(root, "labelled", 12, classes=("cat", "dog", "emu"))
    content = json.loads((root / "labelled.json").read_text())
    emus = [annotation for annotation in content["annotations"] if annotation["category_id"] == 30]
    content["annotations"] = [annotation for annotation in content["annotations"] if annotation["category_id"] != 30]
    write(root, "labelled", content)
    with pytest.raises(BadInput, match="Class 'emu' has no object in any labelled image"):
        run(root)
    content["annotations"].append(emus[0] | {"iscrowd": 1})  # a crowd teaches nothing
    write(root, "labelled", content)
    with pytest.raises(BadInput, match="Class 'emu' has no object in any labelled image"):
        run(root)
    content["annotations"][-1] = emus[0]
    write(root, "labelled", content)
    assert told(run(root, split={"holdout": 0.0}), "No object in test images, so that it cannot be judged: emu")
    said = set()
    for seed in range(6):  # now and then the one emu is held out
        try:
            run(root, seed=seed, split={"holdout": 0.5})
        except BadInput as error:
            said.add(str(error).splitlines()[1].strip())
    assert said == {
        "Class 'emu' has no object to train on (1 in holdout). Raise detection.split.images, lower "
        "detection.split.holdout, label some in other images, or take another seed"
    }


def test_sick_data_stops_it_and_writes_nothing(root):
    (root / "pool/00.png").write_bytes((root / "test/00.png").read_bytes())
    with pytest.raises(BadInput, match=r"1 training image\(s\) are test images too.*detection\.ingest\.leaks: drop"):
        run(root)
    assert not (root.parent / "split").exists()
    assert told(run(root, leaks="drop"), "1 copies of images were dropped")
    for path in (root / "test").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(BadInput, match="There is no test image"):
        run(root, leaks="drop")
