import json
import shutil

import pyarrow.compute as pc
import pytest
from own_images import save
from scene_work import coco_set, detection, write

from tasks.scenes_ingest import scenes_ingest
from tutelage.data import masks
from tutelage.data.manifest import classes_of, read_manifest, roots_of
from tutelage.data.scenes import Annotations, read_boxes
from tutelage.types import BadInput


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    coco_set(root, "labelled", 4, bare=[3])
    coco_set(root, "pool", 3, start=100, domain="night")
    coco_set(root, "test", 2, start=200)
    return root


def run(root, out="out", **wanted):
    """Manifest, boxes and report."""
    folder = scenes_ingest(root, params=detection(**wanted), out=root.parent / out)
    return read_manifest(folder), read_boxes(folder), json.loads((folder / "report.json").read_text())


def test_files_hold_what_the_contract_says(root):
    table, boxes, report = run(root, pool="pool.json", test="test.json")
    assert report["images"] == {"labelled": 4, "pool": 3, "test": 2}
    assert report["objects"] == {name: {"labelled": 3, "pool": 3, "test": 2} for name in ("cat", "dog")}
    assert [report[part] for part in ("refused", "dropped", "leaks", "repairs", "refused_objects")] == [[]] * 5
    assert classes_of(table) == ["cat", "dog"]
    assert roots_of(table) == dict.fromkeys(("labelled", "pool", "test"), str(root))
    row = next(row for row in table.to_pylist() if row["id"] == "pool/pool/01.png")
    assert (row["path"], row["width"], row["height"], row["label"]) == ("pool/01.png", 16, 16, None)
    assert (row["domain"], row["label_source"], row["tasks"]) == ("night", "given", ["detection"])
    places, labels, crowd, area = Annotations.of(table, boxes)[1]
    assert places.tolist() == [[0, 2, 6, 6], [1, 2, 7, 7]]
    assert (labels.tolist(), crowd.tolist(), area.tolist()) == ([0, 1], [False, False], [24, 30])
    assert len(Annotations.of(table, boxes)[3].labels) == 0
    text = (root.parent / "out/report.md").read_text()
    assert "4 labelled, 3 pool, 2 test" in text
    assert "| cat | 3 | 3 | 2 |" in text


def test_two_runs_are_equal_bytes(root):
    for name in ("one", "two"):
        run(root, name, pool="pool.json")
    for name in ("manifest.parquet", "boxes.parquet", "report.json", "report.md"):
        assert (root.parent / "one" / name).read_bytes() == (root.parent / "two" / name).read_bytes()


@pytest.mark.parametrize(("bbox", "kept"), [([0, 2, 3, 3], False), (None, False), ([0.0, 2, 6, 4], True)])
def test_copies_whose_objects_differ_are_refused(root, bbox, kept):
    shutil.copy(root / "labelled/00.png", root / "labelled/+0.png")
    content = json.loads((root / "labelled.json").read_text())
    content["images"].append({"id": 9, "file_name": "labelled/+0.png", "width": 16, "height": 16})
    added = [{"id": 90, "image_id": 9, "category_id": 10, "bbox": bbox}] if bbox else []
    content["annotations"] = [each for each in content["annotations"] if each["id"] != 1] + added
    write(root, "labelled", content)
    table, _, report = run(root)
    assert ("labelled/labelled/+0.png" in table["id"].to_pylist()) == kept
    assert "labelled/labelled/00.png" not in table["id"].to_pylist()
    refused = {each["id"]: each["detail"] for each in report["refused"]}
    assert set(refused) == (set() if kept else {"labelled/labelled/+0.png", "labelled/labelled/00.png"})
    assert all("object(s), " in detail for detail in refused.values())


def test_an_image_whose_objects_were_all_refused_is_not_taken_for_empty(root):
    for name in ("labelled", "pool"):
        content = json.loads((root / f"{name}.json").read_text())
        for each in content["annotations"][:2]:  # both of one image
            each["category_id"] = 99
        content["annotations"][2]["bbox"] = [0, 0, 0, 0]  # the other object of that image stays
        write(root, name, content)
    table, _, report = run(root, pool="pool.json")
    known = {row["id"]: row["label_source"] for row in table.to_pylist()}
    assert [each["id"] for each in report["refused"]] == ["labelled/labelled/00.png"]
    assert "labelled/labelled/00.png" not in known
    assert (known["labelled/labelled/01.png"], known["pool/pool/00.png"]) == ("given", "")


def test_a_pool_may_be_a_folder(root):
    table, boxes, report = run(root, pool="pool")
    assert report["images"] == {"labelled": 4, "pool": 3}
    pool = [row for row in table.to_pylist() if row["source"] == "pool"]
    assert [row["id"] for row in pool] == ["pool/00.png", "pool/01.png", "pool/02.png"]
    assert {(row["label_source"], len(row["tasks"])) for row in pool} == {("", 0)}
    assert {name.partition("/")[0] for name in boxes["id"].to_pylist()} == {"labelled"}


@pytest.mark.parametrize("left_out", [("annotations",), ("annotations", "categories"), ()])
def test_a_pool_may_be_a_json_that_lists_images_alone(root, left_out):
    content = json.loads((root / "pool.json").read_text()) | {"annotations": []}
    write(root, "pool", {name: part for name, part in content.items() if name not in left_out})
    table, _, report = run(root, pool="pool.json")
    assert report["images"] == {"labelled": 4, "pool": 3}
    pool = [row for row in table.to_pylist() if row["source"] == "pool"]
    assert {(row["label_source"], len(row["tasks"]), row["domain"]) for row in pool} == {("", 0, "night")}  # not empty


def test_images_may_lie_elsewhere(root):
    content = json.loads((root / "labelled.json").read_text())
    (root / "annotations").mkdir()
    write(root / "annotations", "train", content)
    with pytest.raises(BadInput, match=r"detection\.ingest\.labelled_images"):
        run(root, labelled="annotations/train.json")
    table, _, _ = run(root, labelled="annotations/train.json", labelled_images=".")
    assert table.num_rows == 4
    assert table["id"].to_pylist()[0] == "labelled/labelled/00.png"


def test_a_wrong_size_is_refused_and_in_the_pool_hides_the_objects(root):
    for name in ("labelled", "pool"):
        content = json.loads((root / f"{name}.json").read_text())
        content["images"][0]["width"] = 32
        write(root, name, content)
    table, boxes, report = run(root, pool="pool.json")
    assert report["images"] == {"labelled": 3, "pool": 3}
    assert [(row["id"], row["reason"]) for row in report["refused"]] == [("labelled/labelled/00.png", "wrong_size")]
    assert "says 32 x 16, the file has 16 x 16" in report["refused"][0]["detail"]
    assert len(report["refused_objects"]) == 1
    assert "pool/pool/00.png" in report["refused_objects"][0]
    rows = {row["id"]: row for row in table.to_pylist()}
    assert rows["pool/pool/00.png"]["label_source"] == ""
    assert {"labelled/labelled/00.png", "pool/pool/00.png"}.isdisjoint(boxes["id"].to_pylist())


def test_a_missing_size_is_the_files(root):
    content = json.loads((root / "labelled.json").read_text())
    del content["images"][0]["width"]
    write(root, "labelled", content)
    table, _, report = run(root)
    assert table["width"].to_pylist()[0] == 16
    assert len(report["repairs"]) == 1
    assert "images[0] (id 0) has width None" in report["repairs"][0]
    assert "images[0]" in (root.parent / "out/report.md").read_text()


def test_sick_images_and_copies_are_told(root):
    (root / "labelled/01.png").write_bytes((root / "labelled/01.png").read_bytes()[:60])
    shutil.copy(root / "labelled/00.png", root / "labelled/02.png")
    shutil.copy(root / "test/00.png", root / "pool/00.png")
    _, boxes, report = run(root, pool="pool.json", test="test.json")
    assert [(row["id"], row["reason"]) for row in report["refused"]] == [("labelled/labelled/01.png", "truncated")]
    assert [row["id"] for row in report["dropped"]] == ["labelled/labelled/02.png"]
    assert [row["id"] for row in report["leaks"]] == ["pool/pool/00.png"]
    labelled = {name for name in boxes["id"].to_pylist() if name.startswith("labelled")}
    assert labelled == {"labelled/labelled/00.png"}


def test_near_duplicates_are_found_when_asked_for(root):
    save(root / "more/again.jpg", 3, quality=90)  # labelled/03 saved as JPEG
    _, _, report = run(root, pool="more", near_duplicates=6)
    assert [row["id"] for row in report["dropped"]] == ["pool/again.jpg"]


@pytest.mark.parametrize(
    ("wanted", "fragment"),
    [
        ({"labelled": "labelled"}, "write the COCO JSON of the labelled images"),
        ({"test": "test"}, "write the COCO JSON of the test images"),
        ({"labelled": "labeled.json"}, r"labeled\.json does not exist"),
        ({"pool": "../pool"}, "leads out of"),
        ({"labelled_images": "nowhere"}, "does not exist"),
        ({"test": "birds.json"}, "has the categories bird, which the labelled images do not have"),
    ],
)
def test_bad_input_writes_nothing(root, wanted, fragment):
    coco_set(root, "birds", 2, start=300, classes=("bird", "cat"))
    with pytest.raises(BadInput, match=fragment):
        run(root, **wanted)
    assert not (root.parent / "out").exists()


@pytest.fixture
def sets(tmp_path):
    """cars.json and people.json, each marked for its own class, each with its own images."""
    root = tmp_path / "several"
    for place, (name, classes) in enumerate({"cars": ("car",), "people": ("person",)}.items()):
        coco_set(root, name, 3, start=100 * place, classes=classes)
        coco_set(root, f"test_{name}", 2, start=1000 + 100 * place, classes=classes)
    return root


BOTH = ["people.json", "cars.json"]


def test_each_of_several_files_was_searched_for_its_own_classes_alone(sets):
    table, boxes, report = run(sets, labelled=BOTH, test=["test_cars.json", "test_people.json"])
    assert classes_of(table) == ["person", "car"]  # as they first appear
    assert report["images"] == {"labelled": 6, "test": 4}
    assert report["objects"] == {"person": {"labelled": 3, "test": 2}, "car": {"labelled": 3, "test": 2}}
    rows = {name: boxes.filter(pc.equal(boxes["id"], name)).to_pylist() for name in table["id"].to_pylist()}
    for name, both in rows.items():
        (objects, unknown), own = sorted(both, key=lambda row: row["crowd"]), "car" if "cars/" in name else "person"
        assert classes_of(table)[objects["label"]] == own
        assert classes_of(table)[unknown["label"]] != own
        assert [unknown[key] for key in ("x1", "y1", "x2", "y2", "crowd", "area")] == [0, 0, 16, 16, True, 256]
        assert masks.decode(unknown["mask"], 16, 16).all()


def test_a_test_beside_several_files_was_searched_for_its_own_classes(sets):
    _, boxes, _ = run(sets, labelled=BOTH, test="test_cars.json")
    tested = [row for row in boxes.to_pylist() if row["id"].startswith("test/")]
    assert sorted((row["label"], row["crowd"]) for row in tested) == [(0, True)] * 2 + [(1, False)] * 2


def test_an_image_of_two_files_with_other_classes_is_one_that_was_searched_for_both(sets):
    other, content = (json.loads((sets / f"{name}.json").read_text()) for name in ("cars", "people"))
    content["images"][0]["file_name"] = other["images"][1]["file_name"]
    write(sets, "people", content)
    _, boxes, report = run(sets, labelled=BOTH)
    assert report["images"]["labelled"] == 5
    rows = boxes.filter(pc.equal(boxes["id"], "labelled/cars/01.png")).to_pylist()
    assert sorted((row["label"], row["crowd"]) for row in rows) == [(0, False), (1, False)]


def test_an_image_of_two_files_that_share_a_class_is_refused(sets):
    write(sets, "more", json.loads((sets / "cars.json").read_text()))
    with pytest.raises(BadInput, match=r"cars\.json and more\.json both list cars/00\.png, and both mark 'car'"):
        run(sets, labelled=["cars.json", "more.json"])


def test_copies_that_were_marked_for_other_classes_are_told_of_one_name(sets):
    shutil.copy(sets / "cars/00.png", sets / "people/00.png")
    _, _, report = run(sets, labelled=BOTH)
    details = {each["id"]: each["detail"] for each in report["refused"]}
    assert sorted(details) == ["labelled/cars/00.png", "labelled/people/00.png"]
    assert "searched for car alone" in details["labelled/cars/00.png"]
    assert all("list the same file name in both JSONs" in detail for detail in details.values())


def test_an_image_whose_objects_were_refused_is_refused_though_it_was_not_searched_for_all(sets):
    content = json.loads((sets / "cars.json").read_text())
    content["annotations"][0]["bbox"] = None
    write(sets, "cars", content)
    _, boxes, report = run(sets, labelled=BOTH)
    assert [each["id"] for each in report["refused"]] == ["labelled/cars/00.png"]
    assert "cars.json: annotations[0]" in report["refused_objects"][0]
    assert "labelled/cars/00.png" not in boxes["id"].to_pylist()


def test_what_is_told_of_several_files_names_the_one_that_it_is_about(sets):
    for name in ("cars", "people"):
        content = json.loads((sets / f"{name}.json").read_text())
        content["images"] += [{"id": 7}, {"id": 8, "file_name": "gone.png"}]
        content["images"][0]["width"] = 32
        content["annotations"][1] |= {"area": -1}
        content["annotations"][2] |= {"bbox": None}
        (sets / "lists" / name).mkdir(parents=True)
        write(sets, f"lists/{name}/train", content)
    people, cars = (f"lists/{name}/train.json" for name in ("people", "cars"))
    _, _, report = run(sets, labelled=[people, cars], labelled_images=".")
    about = [each["detail"].split()[:2] for each in report["refused"] if each["reason"] != "unknown_label"]
    assert sorted(map(" ".join, about)) == sorted(
        f"{file}{words}" for file in (cars, people) for words in (" says", ": it", ": there")
    )
    for told, address in (("repairs", "annotations[1]"), ("refused_objects", "annotations[2]")):
        lines = [line for line in report[told] if address in line]
        assert [line.split(" (id")[0] for line in sorted(lines)] == [f"{cars}: {address}", f"{people}: {address}"]


def test_a_wrong_size_that_two_files_say_names_both(sets):
    other, content = (json.loads((sets / f"{name}.json").read_text()) for name in ("cars", "people"))
    content["images"][0]["file_name"] = other["images"][0]["file_name"]
    content["images"][0]["width"] = other["images"][0]["width"] = 32
    write(sets, "cars", other)
    write(sets, "people", content)
    _, _, report = run(sets, labelled=BOTH)
    assert report["refused"][0]["detail"].startswith("people.json and cars.json say 32 x 16, the file has 16 x 16")
    content["images"][0]["width"] = 16
    write(sets, "people", content)
    with pytest.raises(BadInput, match=r"people\.json and cars\.json say two sizes of cars/00\.png"):
        run(sets, labelled=BOTH)
    del content["images"][0]["width"]
    write(sets, "people", content)
    _, _, report = run(sets, labelled=BOTH)
    assert report["refused"][0]["detail"].startswith("cars.json says 32 x 16")


def test_each_file_may_have_its_own_folder_of_images(sets):
    for name in ("cars", "people"):
        (sets / "lists" / name).mkdir(parents=True)
        shutil.move(sets / f"{name}.json", sets / "lists" / name / "train.json")
    several = ["lists/people/train.json", "lists/cars/train.json"]
    one, _, _ = run(sets, "one", labelled=several, labelled_images=".")
    shutil.move(sets / "people", sets / "lists/people/people")
    each, _, _ = run(sets, "each", labelled=several, labelled_images=[None, "."])
    assert one["id"].to_pylist()[3:] == [f"labelled/people/0{n}.png" for n in range(3)]
    assert each["id"].to_pylist()[3:] == [f"labelled/lists/people/people/0{n}.png" for n in range(3)]
    with pytest.raises(ValueError, match="labelled_images has 1 folders for 2 JSON"):
        run(sets, labelled=several, labelled_images=["."])


def test_one_file_in_a_list_is_as_it_is_without_but_for_what_its_images_are_relative_to(root):
    coco_set(root, "test", 2, start=200)
    run(root, "name", test="test.json")
    run(root, "list", labelled=["labelled.json"], test=["test.json"])
    for name in ("manifest.parquet", "boxes.parquet"):
        assert (root.parent / "name" / name).read_bytes() == (root.parent / "list" / name).read_bytes()
