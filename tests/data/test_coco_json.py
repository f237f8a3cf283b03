"""A COCO JSON from anywhere: every sick record is mended or refused with a sentence that names it."""

import copy
import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import picture, save
from pycocotools.coco import COCO
from scenes_found import nothing_found

from tutelage.data import masks
from tutelage.data.boxes import Found
from tutelage.data.coco import read_coco
from tutelage.data.coco_boxes import box_table, wrong_sizes
from tutelage.data.coco_file import of_mask, write_coco, write_coco_found
from tutelage.data.ingest import examine_all
from tutelage.types import BadInput

SIZES = {"labelled/a.png": (20, 10), "labelled/b.png": (16, 16)}
RUNS = {"size": [10, 20], "counts": [20, 5, 5, 5, 165]}  # columns 2 and 3, their upper halves
BASE = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 20, "height": 10},
        {"id": 2, "file_name": "b.png", "width": 16, "height": 16},
    ],
    "annotations": [{"id": 7, "image_id": 1, "category_id": 5, "bbox": [2, 3, 4, 5], "area": 15, "iscrowd": 0}],
    "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
}


@pytest.fixture
def root(tmp_path):
    save(tmp_path / "a.png", picture(0, 10, 20))
    save(tmp_path / "b.png", picture(1, 16, 16))
    return tmp_path


def read(root, content, **options):
    path = root / "x.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_coco(path, **({"folder": root, "boundary": root, "source": "labelled"} | options))


def rows(coco, sizes=SIZES):
    table = box_table(coco, sizes)
    return [
        (row["id"][9:], row["label"], [row[side] for side in ("x1", "y1", "x2", "y2")], row["crowd"], row["area"])
        for row in table.to_pylist()
    ]


DOG = ("a.png", 1, [2, 3, 6, 8], False, 15)


def changed(part, place, **fields):
    """BASE with some fields of a record otherwise; None takes a field away, place None adds a record."""
    content = copy.deepcopy(BASE)
    if place is None:
        content[part].append(dict(content[part][0]))
        place = -1
    content[part][place] |= fields
    content[part][place] = {key: value for key, value in content[part][place].items() if value is not None}
    return content


def annotation(**fields):
    return changed("annotations", 0, **fields)


def test_a_healthy_file_is_taken_as_it_is(root):
    coco = read(root, BASE)
    assert coco.classes == ["cat", "dog"]
    assert rows(coco) == [DOG]
    assert (coco.repairs, coco.refused, coco.scan.refused) == ([], [], [])
    assert [image.id for image in coco.scan.found] == list(SIZES)  # b.png has no object and stays
    assert coco.scan.found[0].length == (root / "a.png").stat().st_size


def box(*corners, label=1, crowd=False, area=15.0):
    return [("a.png", label, list(corners), crowd, area)]


MENDED = {  # what is written, what becomes of it, what is said of it
    "string ids": (
        {"images": [BASE["images"][0] | {"id": "1"}, BASE["images"][1] | {"id": " 02"}],
         "annotations": [BASE["annotations"][0] | {"image_id": "1", "category_id": "5"}],
         "categories": [{"id": "5", "name": "dog"}, {"id": 3.0, "name": "cat"}]},
        [DOG], ["categories: 1 have a string as id", "images: 2 have a string as id, such as '1'",
                "annotations: 1 have a string as image_id", "annotations: 1 have a string as category_id"],
    ),
    "crowd": (annotation(iscrowd=1), box(2, 3, 6, 8, crowd=True), []),
    "no iscrowd, no area": (annotation(iscrowd=None, area=None), box(2, 3, 6, 8, area=20), []),
    "crowd in quotes": (annotation(iscrowd="1"), box(2, 3, 6, 8, crowd=True), ["has iscrowd '1'; read as 1"]),
    "partly outside": (annotation(bbox=[-2, 3, 6, 99]), box(0, 3, 4, 10), ["leads 92 pixels out of the image"]),
    "outside by rounding": (annotation(bbox=[15.5, 3, 4.500001, 5]), box(15.5, 3, 20, 8), []),
    "twice": (changed("annotations", None, id=8), [DOG], ["annotations[1] (id 8) is annotations[0] (id 7) again"]),
    "twice, once a crowd": (changed("annotations", None, id=8, iscrowd=1), [DOG, *box(2, 3, 6, 8, crowd=True)], []),
    "NaN area": (annotation(area=float("nan")), box(2, 3, 6, 8, area=20), ["an area of nan is impossible; 20"]),
    "area of a mask": (annotation(bbox=[2, 0, 3, 5], area=0, segmentation=RUNS), box(2, 0, 5, 5, area=10),
                       ["area of 0 is impossible; 10"]),
    "area beyond the box": (annotation(area=1e9), box(2, 3, 6, 8, area=20), ["an area of 1000000000.0 is impossible"]),
    "no box but runs": (annotation(bbox=None, area=None, segmentation=RUNS), box(2, 0, 4, 5, area=10),
                        ["it has no box"]),
    "zero box but runs": (annotation(bbox=[2, 3, 0, 5], segmentation=RUNS, area=None), box(2, 0, 4, 5, area=10),
                          ["has no area; the one around its mask"]),
    "no box but polygon": (annotation(bbox=None, area=None, segmentation=[[2, 0, 4, 0, 4, 5, 2, 5]]),
                           box(2, 0, 4, 5, area=10), ["it has no box"]),
    "flat polygon": (annotation(bbox=[2, 0, 3, 5], area=None, segmentation=[2, 0, 4, 0, 4, 5, 2, 5]),
                     box(2, 0, 5, 5, area=10), []),
    "runs of another size": (annotation(segmentation=RUNS | {"size": [20, 10]}), [DOG], ["is of size [20, 10]"]),
    "runs that do not add up": (annotation(segmentation=RUNS | {"counts": [20, 5]}), [DOG], ["do not add up"]),
    "runs below zero": (annotation(segmentation=RUNS | {"counts": [210, -10]}), [DOG], ["do not add up"]),
    "runs of nothing": (annotation(segmentation=RUNS | {"counts": [200]}), [DOG], ["covers no pixel"]),
    "cut runs": (annotation(segmentation=RUNS | {"counts": "T"}), [DOG], ["end too early"]),
    "runs no letters": (annotation(segmentation=RUNS | {"counts": "\u00e9"}), [DOG], ["no run lengths"]),
    "polygon of two points": (annotation(segmentation=[[1, 1, 2, 2]]), [DOG], ["polygon of 4 numbers"]),
    "polygon of words": (annotation(segmentation=[["a"] * 6]), [DOG], ["something else than finite numbers"]),
    "polygon far away": (annotation(segmentation=[[0, 0, 1e12, 0, 1, 1]]), [DOG], ["1e+12 pixels out of the image"]),
    "segmentation a word": (annotation(segmentation="mask"), [DOG], ["neither polygons nor run lengths"]),
    "no size": (changed("images", 0, width=None), [DOG], ["images[0] (id 1) has width None and height 10"]),
    "size no number": (changed("images", 0, width="20"), [DOG], ["images[0] (id 1) has width '20'"]),
    "categories of one name": (changed("categories", None, id=9), [DOG], ["is called 'dog' as category 5 is"]),
    "a name of other letters": ({**BASE, "categories": [*BASE["categories"], {"id": 8, "name": "e\u0301"},
                                                        {"id": 9, "name": "\u00e9"}]}, [DOG],
                                ["is called '\u00e9' as category 8 is"]),
    "name with a blank": (changed("categories", 0, name=" dog\n"), [DOG], []),
    "a file listed twice": (
        {**BASE, "images": [*BASE["images"], BASE["images"][0] | {"id": 4}],
         "annotations": [*BASE["annotations"], BASE["annotations"][0] | {"image_id": 4, "bbox": [0, 0, 4, 5]}]},
        [DOG, *box(0, 0, 4, 5)], ["images[2] (id 4) lists a.png once more"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MENDED)
def test_it_is_mended_and_told(root, case):
    content, expected, said = MENDED[case]
    coco = read(root, content)
    assert rows(coco) == expected
    assert coco.refused == []
    assert len(coco.repairs) == len(said)
    for sentence, fragment in zip(coco.repairs, said, strict=True):
        assert fragment in sentence
        assert sentence.startswith("x.json: ")


def test_runs_letters_polygons_and_bare_boxes_may_stand_in_one_file(root):
    letters = masks.to_counts(RUNS, 20, 10)  # as pycocotools writes them
    shapes = (RUNS, RUNS | {"counts": letters}, [[2, 0, 4, 0, 4, 5, 2, 5]], None)
    ground = BASE["annotations"][0] | {"area": None, "bbox": [2, 0, 2, 5]}
    content = BASE | {
        "annotations": [
            ground | {"id": n, "category_id": (3, 5)[n % 2], "bbox": [2, 0, 2 + n // 2, 5], "segmentation": shape}
            for n, shape in enumerate(shapes)
        ]
    }
    coco = read(root, content)
    table = box_table(coco, SIZES)
    assert (coco.repairs, coco.refused) == ([], [])
    assert table["area"].to_pylist() == [10, 10, 10, 15]  # three masks of one shape, and a box of 3 by 5
    assert table["mask"].to_pylist() == [letters] * 3 + [""]


REFUSED = {
    "zero area": (annotation(bbox=[2, 3, 0, 5]), "has no area"),
    "below zero": (annotation(bbox=[2, 3, 4, -5]), "has no area"),
    "thinner than a float": (annotation(bbox=[2, 3, 1e-9, 5]), "has no area"),
    "outside": (annotation(bbox=[20, 3, 4, 5]), "lies outside of the 20 x 10 image"),
    "too small for a number": (annotation(bbox=[0, 0, 1.2e-38, 1.2e-38]), "has no area"),
    "NaN": (annotation(bbox=[float("nan"), 3, 4, 5]), "finite numbers"),
    "infinite": (annotation(bbox=[2, 3, float("inf"), 5]), "finite numbers"),
    "a hundred digits": (annotation(bbox=[2, 3, 10**400, 5]), "finite numbers"),
    "three numbers": (annotation(bbox=[2, 3, 4]), "finite numbers"),
    "words": (annotation(bbox=["2", "3", "4", "5"]), "finite numbers"),
    "no box": (annotation(bbox=None), "it has no box"),
    "unknown image": (annotation(image_id=77), "image 77, which is not in `images`"),
    "no image": (annotation(image_id=None), "image None"),
    "unknown category": (annotation(category_id=77), "the category 77, which is not in `categories`"),
    "iscrowd no flag": (annotation(iscrowd="yes"), "iscrowd 'yes'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_object_is_refused_and_told(root, case):
    content, fragment = REFUSED[case]
    content["annotations"].append(BASE["annotations"][0] | {"id": 8, "bbox": [0, 0, 4, 5]})
    coco = read(root, content)
    assert rows(coco) == box(0, 0, 4, 5)  # the next one is as good as before
    assert coco.repairs == []
    assert len(coco.refused) == 1
    assert fragment in coco.refused[0]
    assert "annotations[0] (id 7)" in coco.refused[0]


IMAGES_REFUSED = {
    "missing file": (changed("images", 0, file_name="c.png"), {"labelled/c.png": "unreadable"}),
    "outside": (changed("images", 0, file_name="../a.png"), {"labelled/../a.png": "outside_root"}),
    "absolute": (changed("images", 0, file_name="/etc/passwd"), {"labelled//etc/passwd": "outside_root"}),
    "no name": (changed("images", 0, file_name=None), {"labelled/images[0] (id 1)": "unreadable"}),
    "no id": (changed("images", 0, id=None), {"labelled/images[0]": "unreadable"}),
    "no UTF-8": (changed("images", 0, file_name="\udcff.png"), {"labelled/\\udcff.png": "unreadable"}),
}


@pytest.mark.parametrize("case", IMAGES_REFUSED)
def test_an_image_is_refused_and_told(root, case):
    content, expected = IMAGES_REFUSED[case]
    coco = read(root, content)
    assert {refusal.id: refusal.reason for refusal in coco.scan.refused} == expected
    assert [image.id for image in coco.scan.found] == ["labelled/b.png"]
    assert rows(coco) == []


def test_two_files_under_one_id_are_both_left_out(root):
    save(root / "c.png", picture(2))
    content = changed("images", None, file_name="c.png")
    coco = read(root, content)
    assert {refusal.id for refusal in coco.scan.refused} == {"labelled/a.png", "labelled/c.png"}
    assert list(coco.images) == ["labelled/b.png"]
    assert rows(coco) == []


def test_a_link_may_not_lead_out(root):
    inner = root / "inner"
    save(inner / "b.png", picture(1, 16, 16))
    (inner / "a.png").symlink_to(root / "a.png")
    coco = read(root, BASE, folder=inner, boundary=inner)
    assert [(refusal.id, refusal.reason) for refusal in coco.scan.refused] == [("labelled/a.png", "outside_root")]


UNUSABLE = {
    "no JSON": ('{"images": [\n oops', "line 2"),
    "no text": ('"\\ud800', "x.json"),
    "nested": ("[" * 100_000, "no JSON"),
    "a list": ([], "no list images, annotations, categories"),
    "another format": ({"images": [], "boxes": []}, "no list annotations, categories"),
    "no category": (BASE | {"categories": []}, "annotations and no category"),
    "one id, two names": (changed("categories", None, name="cow"), "two categories have the id 5: 'dog' and 'cow'"),
    "no file there": (
        BASE | {"images": [{"id": 1, "file_name": "train/a.png"}]},
        "none of its 1 images.*detection.ingest.labelled_images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_file_that_cannot_be_used_says_why(root, case):
    content, fragment = UNUSABLE[case]
    with pytest.raises(BadInput, match=fragment):
        read(root, content)


def test_images_may_be_listed_without_any_class(root):
    coco = read(root, BASE | {"annotations": [], "categories": []})
    assert coco.classes == coco.annotations == []
    assert len(coco.images) == len(BASE["images"])


def test_classes_of_another_source_are_compared_by_name(root):
    coco = read(root, BASE, source="test", classes=["bird", "cat", "dog"])  # dog is 2 there, whatever its id here
    assert [annotation.label for annotation in coco.annotations] == [2]
    with pytest.raises(BadInput, match=r"has the categories dog, which the labelled images do not have; they have cat"):
        read(root, BASE, source="test", classes=["cat", "Dog"])


def test_a_file_of_another_size_is_told(root):
    content = changed("images", 0, width=10, height=20)
    coco = read(root, content)
    images = list(examine_all(coco.scan, max_pixels=1000, thumbnails=False))
    (refusal,) = wrong_sizes(coco, images)
    assert (refusal.id, refusal.reason) == ("labelled/a.png", "wrong_size")
    assert "10 x 20, the file has 20 x 10" in refusal.detail
    assert "turned" in refusal.detail


def test_of_an_image_that_is_gone_no_box_is_left(root):
    assert rows(read(root, BASE), {"labelled/b.png": (16, 16)}) == []


@pytest.mark.parametrize("files", [("a.png", "gone.png"), ("gone.png", "a.png"), ("a.png", "b.png")])
def test_two_files_of_one_id_are_both_out_even_where_one_is_missing(root, files):
    save(root / "c.png", picture(2, 16, 16))
    listed = [{"id": 1, "file_name": name} for name in files] + [{"id": 2, "file_name": "c.png"}]
    coco = read(root, BASE | {"images": listed})
    assert [found.id for found in coco.scan.found] == ["labelled/c.png"]
    told = {refusal.id: refusal.detail for refusal in coco.scan.refused}
    assert all("same id" in told[f"labelled/{name}"] for name in files if name != "gone.png")


@pytest.mark.parametrize("listed", list(itertools.permutations([(2, "a.png"), (2, "b.png"), (1, "a.png")])))
def test_a_file_of_an_unclear_id_stays_out_under_its_other_id_too(root, listed):
    """In whatever order they come: it had come back, without the objects of the unclear id."""
    save(root / "c.png", picture(2, 16, 16))
    images = [{"id": key, "file_name": name, "width": 16, "height": 16} for key, name in [*listed, (3, "c.png")]]
    objects = [BASE["annotations"][0] | {"id": 6 + key, "image_id": key} for key in (1, 2, 3)]
    coco = read(root, BASE | {"images": images, "annotations": objects})
    assert list(coco.images) == [found.id for found in coco.scan.found] == ["labelled/c.png"]
    assert [one.image for one in coco.annotations] == ["labelled/c.png"]
    assert [refusal.id for refusal in coco.scan.refused] == ["labelled/a.png", "labelled/b.png"]
    assert coco.repairs == []


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-30, 30)


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, min_size=4, max_size=4))
@example([0, 0, 1.2e-38, 1.2e-38])
def test_whatever_is_written_a_box_lies_in_its_image(tmp_path_factory, bbox):
    root = tmp_path_factory.mktemp("any")
    save(root / "a.png", picture(0, 10, 20))
    coco = read(root, {**annotation(bbox=bbox), "images": BASE["images"][:1]})
    found = rows(coco)
    assert len(found) + len(coco.refused) == 1
    for _, _, (x1, y1, x2, y2), _, area in found:
        assert 0 <= x1 < x2 <= 20
        assert 0 <= y1 < y2 <= 10
        assert area > 0


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools under numpy 2
def test_pycocotools_opens_what_we_write(root, capsys):
    mask = np.zeros((10, 20), bool)
    mask[3:5, 2:6] = True
    second = {"id": 8, "image_id": 1, "category_id": 3} | of_mask(masks.encode(mask), 20, 10) | {"iscrowd": 1}
    content = BASE | {"annotations": [*BASE["annotations"], second]}
    write_coco(root / "out.json", content)
    opened = COCO(root / "out.json")
    assert [opened.imgs[number]["file_name"] for number in (1, 2)] == ["a.png", "b.png"]
    assert [(cat["id"], cat["name"]) for cat in opened.loadCats(opened.getCatIds())] == [(5, "dog"), (3, "cat")]
    dog, cat = opened.loadAnns(opened.getAnnIds(imgIds=1))
    assert (dog["category_id"], dog["bbox"], dog["area"], dog["iscrowd"]) == (5, [2, 3, 4, 5], 15, 0)
    assert (cat["category_id"], cat["area"], cat["iscrowd"]) == (3, 8, 1)
    np.testing.assert_array_equal(opened.annToMask(cat), mask)
    assert opened.getAnnIds(imgIds=2) == []
    ours = read(root, (root / "out.json").read_text())
    assert rows(ours) == [DOG, ("a.png", 0, [2, 3, 6, 5], True, 8)]  # and so do we


@pytest.mark.parametrize("empty", [False, True])
def test_what_is_written_as_it_is_found_is_what_is_written_at_once(tmp_path, empty):
    boxes = Found(np.array([[1, 2, 4.5, 8], [0, 0, 1 / 3, 2]], np.float32), np.array([1, 0]), np.float32([0.75, 0.1]))
    found = [] if empty else [("a/\u00e9.png", (20, 10), boxes), ("b.png", (16, 16), nothing_found()),
                              ("c.png", (9, 9), boxes)]  # fmt: skip
    write_coco_found(tmp_path / "found.json", iter(found), ["cat", "dog"])
    first = {"iscrowd": 0, "category_id": 2, "bbox": [1.0, 2.0, 3.5, 6.0], "area": 21.0, "score": 0.75}
    other = {"iscrowd": 0, "category_id": 1, "bbox": [0.0, 0.0, 0.333, 2.0], "area": 0.666, "score": 0.1}
    content = {
        "images": [
            {"id": number, "file_name": name, "width": size[0], "height": size[1]}
            for number, (name, size, _) in enumerate(found, start=1)
        ],
        "annotations": [
            {"id": number, "image_id": image} | said
            for number, (image, said) in enumerate([(1, first), (1, other), (3, first), (3, other)], start=1)
            if not empty
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    write_coco(tmp_path / "whole.json", content)
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", "whole.json"]
    opened = COCO(tmp_path / "found.json")
    assert len(opened.loadRes(content["annotations"]).anns) == 4 if not empty else opened.imgs == {}
