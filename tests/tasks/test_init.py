"""One command from a folder of images to params.yaml, whatever form the labels have."""

import json
import re
import shutil
from pathlib import Path

import pytest
from data.pictures import picture, save, shard

from tasks.__main__ import main
from tasks.init import init
from tasks.params import load
from tutelage.types import BadInput

PARAMS = Path("params.yaml")
VOC = """<annotation><filename>elsewhere.jpg</filename><object><name>dog</name><difficult>{difficult}</difficult>
<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>80</xmax><ymax>60</ymax></bndbox></object></annotation>"""


@pytest.fixture
def mine(tmp_path, monkeypatch, pytestconfig):
    """A folder `mine` beside params.yaml."""
    shutil.copy(pytestconfig.rootpath / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def images(folder, number=3, size=(120, 160), first=0):
    for place in range(first, first + number):
        save(folder / f"{place}.jpg", picture(place, *size))


def coco(path, number, **more):
    path.parent.mkdir(exist_ok=True, parents=True)
    listed = [{"id": place, "file_name": f"{place}.jpg", "width": 160, "height": 120} for place in range(number)]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}
    categories = [{"id": 1, "name": "dog"}]
    path.write_text(json.dumps({"images": listed, "annotations": [box], "categories": categories} | more))


def test_a_folder_that_would_end_a_word_of_the_shell_is_refused(mine):
    images(mine / "it's" / "train" / "cat")
    before = PARAMS.read_text()
    with pytest.raises(BadInput, match=r"FOLDER is \"mine/it's\": .*Rename the folder"):
        init(mine / "it's")
    assert PARAMS.read_text() == before


def test_class_folders_a_pool_and_nothing_else_of_the_file(mine):
    images(mine / "train/cat")
    images(mine / "train/dog", first=3)
    images(mine / "pool", 5, first=6)
    images(mine / "extra", 1, first=20)
    before = PARAMS.read_text().splitlines()
    said = init(mine)
    params, after = load(), PARAMS.read_text().splitlines()
    assert (params.fetch.dataset, params.split.labels_per_class) == ("none", None)
    assert (params.ingest.root, params.ingest.labelled) == ("mine", "train")
    assert (params.ingest.pool, params.ingest.test) == ("pool", None)
    assert (params.network.name, params.network.image_size, params.network.pretrained) == ("resnet18", 128, True)
    assert params.views.crop_padding == 14  # 3 of 28 pixels are 14 of 128
    changed = [line.split(":")[0].strip() for line, old in zip(after, before, strict=True) if line != old]
    assert changed == ["dataset", "root", "pool", "test", "labels_per_class", "network", "views"]
    assert all(line.partition(" #")[2] == old.partition(" #")[2] for line, old in zip(after, before, strict=True))
    assert f"labelled: 6 image(s) of 2 class(es) in {mine}/train" in said
    assert any(line.startswith("left out: 1 image(s)") for line in said)
    assert '  ingest.pool: null -> "pool"' in said
    told = [line.partition(" #")[2] for line in after if line not in before]
    assert not [words for words in told if re.match(" (the demo's, emptied|or none)", words)]  # they fit any value


def test_stories_that_nobody_has_asked_for_are_told_by_check(mine, capsys):
    images(mine / "train/cat")
    images(mine / "train/dog", first=3)
    init(mine)
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert "compress.network writes width 64, but resnet18 has a width of its own" in said


def test_again_it_changes_nothing_and_a_network_of_ones_own_stays(mine):
    images(mine / "train/cat", size=(28, 28))
    images(mine / "train/dog", size=(28, 28), first=3)
    init(mine)
    text = PARAMS.read_text()
    assert load().network.name == "small_resnet"
    own = text.replace("name: small_resnet, width: 24, image_size: 28", "name: resnet50, image_size: 96")
    PARAMS.write_text(own)
    said = init(mine)
    assert PARAMS.read_text() == own != text
    assert said[-2] == "  nothing to change"


@pytest.mark.parametrize("packed", [False, True])
def test_photographs_in_shards_get_the_network_that_they_get_in_folders(mine, packed):
    for place in ("train", "pool"):
        images(mine / place / "cat", 2, size=(256, 256))
        if packed:
            files = {path.name: path.read_bytes() for path in (mine / place / "cat").iterdir()}
            shutil.rmtree(mine / place)
            shard(mine / f"{place}/shard-0.tar", files | {"0.cls": "cat", "1.cls": "cat"})
    said = init(mine)
    network = load().network
    assert (network.name, network.image_size, network.pretrained) == ("resnet18", 224, True)
    assert f"pool: 2 image(s) in {mine}/pool" in said


def test_a_table_goes_before_the_folder_of_its_images_and_val_is_a_test(mine):
    images(mine / "train")
    (mine / "train.csv").write_text("image,label\ntrain/0.jpg,cat\ntrain/1.jpg,dog\n")
    images(mine / "val/cat", first=5)
    images(mine / "pool für später", 1, first=9)
    said = init(mine)
    assert f"labelled: 2 image(s) of 2 class(es) in {mine}/train.csv" in said
    assert '  ingest.pool: null -> "pool für später"' in said
    assert load().ingest.pool == "pool für später"
    assert (load().ingest.labelled, load().ingest.test) == ("train.csv", "val")


def test_coco_as_it_is_published(mine):
    """Images lie apart from the JSON, those of both splits have the same names, and captions are no boxes."""
    for split, number in {"train2017": 3, "val2017": 2, "unlabeled2017": 4}.items():
        images(mine / split, number)
    coco(mine / "annotations/instances_train2017.json", 3)
    coco(mine / "annotations/instances_val2017.json", 2)
    (mine / "annotations/captions_train2017.json").write_text('{"images": [], "annotations": []}')
    init(mine)
    found = load().detection.ingest
    assert (found.labelled, found.labelled_images) == ("annotations/instances_train2017.json", "train2017")
    assert (found.test, found.test_images) == ("annotations/instances_val2017.json", "val2017")
    assert (found.pool, found.pool_images, found.root) == ("unlabeled2017", None, "mine")
    assert load().detection.names is None
    assert load().detection.network.backbone == "resnet18"
    assert load().fetch.dataset == "none"  # or the flows of boxes would download and compose the demo first


def test_a_pool_needs_no_annotations_and_a_record_without_a_file_is_left_to_ingest(mine):
    images(mine / "images", 3)
    coco(mine / "images/train.json", 1)
    coco(mine / "images/test.json", 2, images=[{"id": 0, "file_name": "1.jpg"}, {"id": 1}])
    (mine / "images/pool.json").write_text('{"images": [{"id": 0, "file_name": "2.jpg"}], "categories": []}')
    said = init(mine)
    assert f"pool: 1 image(s), 0 object(s) in {mine}/images/pool.json" in said
    assert f"test: 1 image(s), 1 object(s) in {mine}/images/test.json" in said


def several(mine, *paths):
    """Each JSON marks a class of its own in images of its own; they all list names that count from 0."""
    for place, path in enumerate(paths):
        coco(mine / path, 2, categories=[{"id": 1, "name": f"kind {place}"}])


def test_several_coco_files_are_a_list_each_with_its_images(mine):
    several(mine, "cars/train.json", "people/train.json", "cars/test.json", "people/test.json")
    for name in ("cars", "people"):
        for split in ("train", "test"):
            images(mine / name / split, 2)
    said = init(mine)
    found = load().detection.ingest
    assert (found.labelled, found.labelled_images) == (
        ["cars/train.json", "people/train.json"],
        ["cars/train", "people/train"],
    )
    assert (found.test, found.test_images) == (["cars/test.json", "people/test.json"], ["cars/test", "people/test"])
    assert said[1:4] == [
        f"labelled: 2 image(s), 1 object(s) in {mine}/cars/train.json",
        f"labelled: 2 image(s), 1 object(s) in {mine}/people/train.json",
        "labelled: each JSON is taken to be marked for its own classes alone "
        "(cars/train.json: kind 0; people/train.json: kind 1)",
    ]
    assert not [line for line in said if line.startswith("left out")]
    (mine / "people/train.json").unlink()
    init(mine)
    found = load().detection.ingest
    assert (found.labelled, found.labelled_images) == ("cars/train.json", "cars/train")


def test_images_are_looked_for_below_their_json_first(mine):
    several(mine, "cars/train.json", "people/train.json")
    for name in ("cars", "people"):
        images(mine / name / "images", 2)
    init(mine)
    assert load().detection.ingest.labelled_images == ["cars/images", "people/images"]


def test_coco_files_in_the_folder_of_labelled_images_but_for_the_test(mine):
    images(mine / "labelled", 4)
    several(mine, "labelled/cars.json", "labelled/people.json", "labelled/val.json")
    init(mine)
    found = load().detection.ingest
    assert (found.labelled, found.labelled_images) == (["labelled/cars.json", "labelled/people.json"], None)
    assert (found.test, found.test_images) == ("labelled/val.json", None)


def test_two_coco_files_that_mark_a_class_in_one_image_are_no_two_sets(mine):
    images(mine / "train", 3)
    coco(mine / "train/all.json", 3)
    coco(mine / "train/few.json", 1)
    before = PARAMS.read_text()
    with pytest.raises(BadInput, match=r"which are labelled\? Both list train/0\.jpg, and both mark 'dog', .*by hand"):
        init(mine)
    coco(mine / "train/few.json", 1, annotations=[], categories=[])
    with pytest.raises(BadInput, match=r"which are labelled\? train/few\.json has no category"):
        init(mine)
    assert PARAMS.read_text() == before


def test_two_coco_files_of_the_same_classes_in_other_images_are_a_list(mine):
    for name in ("2023", "2024"):
        images(mine / f"train/{name}", 2)
        coco(mine / f"train/{name}.json", 2)
    said = init(mine)
    assert load().detection.ingest.labelled_images == ["train/2023", "train/2024"]
    assert not [line for line in said if "alone" in line]


def test_coco_files_that_are_called_nothing_are_told_as_the_list_that_they_may_be(mine):
    images(mine, 2)
    several(mine, "cars.json", "people.json", "test.json")
    with pytest.raises(BadInput, match=r"write detection\.ingest\.labelled: \[cars\.json, people\.json\]"):
        init(mine)


def test_two_pools_are_no_list(mine):
    images(mine, 2)
    several(mine, "train.json", "pool-a.json", "pool-b.json")
    with pytest.raises(BadInput, match=r"pool-a\.json and pool-b\.json: which are pool\?"):
        init(mine)


def test_boxes_of_yolo(mine):
    images(mine / "images/train", 3, (100, 200))
    images(mine / "images/val", 1, (100, 200), first=8)
    (mine / "labels/train").mkdir(parents=True)
    (mine / "labels/train/0.txt").write_text("1 0.5 0.5 0.25 0.5\n\n0 0 0 0.5 0 0.5 1\n")
    (mine / "data.yaml").write_text(
        "path: /elsewhere\ntrain: images/train\nval: images/val\nnames: {0: person, 1: car}\n"
    )
    images(mine / "images/unlabeled", 2, first=20)
    said = init(mine)
    content = json.loads((mine / "labelled.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [f"images/train/{n}.jpg" for n in range(3)]
    assert [thing["bbox"] for thing in content["annotations"]] == [[75, 25, 50, 50], [0, 0, 100, 100]]
    assert [thing["category_id"] for thing in content["annotations"]] == [2, 1]
    assert content["annotations"][1]["segmentation"] == [[0, 0, 100, 0, 100, 100]]
    assert f"labelled: 3 image(s), 2 object(s) in {mine}/labelled.json" in said
    assert (load().detection.ingest.test, load().detection.ingest.pool) == ("test.json", "images/unlabeled")
    assert init(mine)[:3] == said[:3]
    (mine / "labels/train/1.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    assert f"labelled: 3 image(s), 3 object(s) in {mine}/labelled.json" in init(mine)  # its own files are made anew


def test_texts_of_yolo_beside_their_images_and_names_in_any_order(mine):
    images(mine / "images", 2)
    (mine / "images/0.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (mine / "data.yaml").write_text("train: images\nnames: {1: dog, 0: cat}\n")
    init(mine)
    content = json.loads((mine / "labelled.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert [names[thing["category_id"]] for thing in content["annotations"]] == ["cat"]
    for numbers in ("{1: cat, 2: dog}", "{0: cat, b: dog}"):
        (mine / "data.yaml").write_text(f"train: images\nnames: {numbers}\n")
        with pytest.raises(BadInput, match="Number the 2 classes from 0"):
            init(mine)


def test_boxes_of_pascal_voc(mine):
    images(mine / "JPEGImages", 4)
    (mine / "Annotations").mkdir()
    for place in range(4):
        (mine / f"Annotations/{place}.xml").write_text(VOC.format(difficult=place % 2))
    (mine / "ImageSets/Main").mkdir(parents=True)
    (mine / "ImageSets/Main/train.txt").write_text("0\n1\n")
    (mine / "ImageSets/Main/val.txt").write_text("2\n")
    init(mine)
    content = json.loads((mine / "labelled.json").read_text())
    assert [thing["bbox"] for thing in content["annotations"]] == [[0, 10, 80, 50]] * 2
    assert [thing["iscrowd"] for thing in content["annotations"]] == [0, 1]
    assert content["categories"] == [{"id": 1, "name": "dog"}]
    assert len(json.loads((mine / "test.json").read_text())["images"]) == 1
    rest = json.loads((mine / "pool.json").read_text())
    assert rest["images"] == [{"id": 1, "file_name": "JPEGImages/3.jpg", "width": 160, "height": 120}]  # in no list
    assert load().detection.ingest.pool == "pool.json"


def test_labels_beside_a_test_are_not_taken_for_a_pool(mine):
    """Roboflow's train/, valid/ and test/; two of three splits are used, and the third keeps its labels."""
    for place, split in enumerate(("train", "valid", "test")):
        images(mine / split / "images", 2, first=2 * place)
        (mine / split / "labels").mkdir()
        (mine / split / f"labels/{2 * place}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (mine / "data.yaml").write_text("train: train/images\nval: ../valid/images\ntest: test/images\nnames: [a]\n")
    said = init(mine)
    assert (load().detection.ingest.test, load().detection.ingest.pool) == ("test.json", None)
    assert said[3].startswith("left out: 2 labelled image(s) of val, neither train nor test. To learn from them")
    (mine / "data.yaml").write_text("train: [train/images, valid/images]\ntest: test/images\nnames: [a]\n")
    assert f"labelled: 4 image(s), 2 object(s) in {mine}/labelled.json" in init(mine)


def test_a_split_that_is_not_there_and_not_needed_stops_nothing(mine):
    images(mine / "train/images", 2)
    images(mine / "test/images", 1, first=5)
    (mine / "data.yaml").write_text("train: train/images\nval: ../valid/images\ntest: test/images\nnames: [a]\n")
    assert not [line for line in init(mine) if line.startswith("left out")]


@pytest.mark.parametrize("listed", [True, False])
def test_lists_of_pascal_voc_keep_their_labels(mine, listed):
    for place, split in enumerate(("train", "val", "test")):
        (mine / "Annotations" if listed else mine / split).mkdir(exist_ok=True)
        images(mine / "JPEGImages" if listed else mine / split, 1, first=place)
        xml = mine / ("Annotations" if listed else split) / f"{place}.xml"
        xml.write_text(VOC.format(difficult=0))
        if listed:
            (mine / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
            (mine / f"ImageSets/Main/{split}.txt").write_text(f"{place}\n")
            (mine / f"ImageSets/Main/dog_{split}.txt").write_text(f"{place}  1\n")
    said = init(mine)
    assert (load().detection.ingest.test, load().detection.ingest.pool) == ("test.json", None)
    assert [line for line in said if line.startswith("left out: 1 labelled image(s) of val, neither train nor test")]


def yolo(mine, line, names="[a, b]"):
    images(mine / "train/images", 1)
    (mine / "train/labels").mkdir(parents=True)
    (mine / "train/labels/0.txt").write_text(line)
    (mine / "data.yaml").write_text(f"train: ../train/images\nnames: {names}\n")  # as Roboflow writes it


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 1 is of class 2, and `names` has 2, counted from 0"),
        ("0 0.5 0.5 0.1", "line 1 has 4 numbers"),
        ("0 nan 0.5 0.1 0.1", "line 1 is '0 nan 0.5 0.1 0.1': write `class x y width height`, all finite numbers"),
        ("0 0.5 0.5 0.1 inf", "all finite numbers"),
        ("cat 0.5 0.5 0.1 0.1", "line 1 is 'cat 0.5 0.5 0.1 0.1': write `class x y width height`"),
    ],
)
def test_a_line_that_is_no_box_is_named_and_nothing_has_changed(mine, line, words):
    before = PARAMS.read_text()
    yolo(mine, line)
    with pytest.raises(BadInput, match=words):
        init(mine)
    assert PARAMS.read_text() == before
    assert not (mine / "labelled.json").exists()


@pytest.mark.parametrize("names", ["", "3", "cat", "[]"])
def test_names_are_a_list_or_numbered(mine, names):
    yolo(mine, "0 0.5 0.5 0.1 0.1", names)
    with pytest.raises(BadInput, match=r"data.yaml: names is .*Write the classes, as \[cat, dog\]"):
        init(mine)


def test_text_that_is_not_utf8_is_named(mine):
    yolo(mine, "0 0.5 0.5 0.1 0.1")
    (mine / "train/labels/0.txt").write_bytes(b"0 0.5 0.5 0.1 0.1 # caf\xe9\n")
    with pytest.raises(BadInput, match=r"0\.txt is not UTF-8 text .*Save it as UTF-8"):
        init(mine)


def test_a_corner_that_is_no_number_is_named(mine):
    images(mine / "train", 1)
    (mine / "train/0.xml").write_text(VOC.format(difficult=0).replace("80", "nan"))
    with pytest.raises(BadInput, match=r"0\.xml has a bndbox that is no box: nan is not finite"):
        init(mine)


def test_a_list_of_pascal_voc_that_is_not_utf8_is_named(mine):
    images(mine / "JPEGImages", 1)
    (mine / "ImageSets/Main").mkdir(parents=True)
    (mine / "ImageSets/Main/train.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(BadInput, match=r"train\.txt is not UTF-8 text .*Save it as UTF-8"):
        init(mine)


@pytest.mark.parametrize("content", [b"title: caf\xe9\n", b"{% template %}\n"])
def test_yaml_of_others_stops_nothing(mine, content):
    images(mine / "train/cat")
    images(mine / "train/dog", first=3)
    (mine / "about.yaml").write_bytes(content)
    init(mine)
    assert load().ingest.labelled == "train"


def test_yaml_that_may_be_yolos_is_to_be_read(mine):
    yolo(mine, "0 0.5 0.5 0.1 0.1", "[caf\xe9]")
    (mine / "data.yaml").write_bytes((mine / "data.yaml").read_text().encode("latin-1"))
    with pytest.raises(BadInput, match=r"data\.yaml is not UTF-8 text"):
        init(mine)


def test_a_file_of_the_users_is_not_written_over(mine):
    yolo(mine, "0 0.5 0.5 0.1 0.1")
    (mine / "labelled.json").write_text("[]")
    with pytest.raises(BadInput, match=r"labelled\.json would be written, and is there already as a file of yours"):
        init(mine)
    assert (mine / "labelled.json").read_text() == "[]"


def test_class_folders_without_a_folder_around_them(mine):
    images(mine / "cat")
    images(mine / "dog", first=3)
    with pytest.raises(BadInput, match=r"It has the folders cat, dog: are they classes\? Move them into .*/train"):
        init(mine)


def test_two_that_may_be_meant(mine):
    for name in ("train-a", "train-b"):
        images(mine / name / "cat")
    with pytest.raises(BadInput, match="train-a and train-b: which are labelled"):
        init(mine)


def test_shards_beside_each_other_are_to_lie_in_one_folder(mine):
    for name in ("train-000", "train-001", "pool-000"):
        shard(mine / f"{name}.tar", {})
    with pytest.raises(BadInput, match=rf"which are labelled\? Put them into one folder, {mine}/train, and "):
        init(mine)


def test_images_that_lie_nowhere(mine):
    coco(mine / "train.json", 2)
    with pytest.raises(BadInput, match=r"no folder has them all\. Write .* detection.ingest.labelled_images"):
        init(mine)
