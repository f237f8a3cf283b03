"""Sick images of two domains are refused with the way out in the message."""

import json
import shutil
from dataclasses import replace

import pytest
from own_images import class_folders, params, save

from tasks.adapt_doctor import adapt_doctor
from tasks.adapt_ingest import adapt_ingest
from tasks.adapt_split import adapt_split
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


@pytest.fixture
def root(tmp_path):
    """source/ and test/ with a folder a class, target/ with images."""
    root = class_folders(tmp_path / "images")
    (root / "train").rename(root / "source")
    for number in range(4):
        save(root / "target" / f"{number}.png", 5000 + number)
    return root


def examine(root, holdout=0.25, **split):
    known = params(split=split)
    folders = replace(known.adapt.ingest, root=str(root), source="source", target="target", test="test")
    known = replace(known, adapt=replace(known.adapt, ingest=folders, holdout=holdout))
    ingested = adapt_ingest(root, params=known, out=root.parent / "ingest")
    split = adapt_split(ingested, params=known, out=root.parent / "split")
    return adapt_doctor(ingested, split, params=known, out=root.parent / "doctor")


def problems(root, **settings):
    with pytest.raises(BadInput) as caught:
        examine(root, **settings)
    assert not (root.parent / "doctor").exists()
    return str(caught.value)


def test_good_domains_get_counts(root):
    report = json.loads((examine(root) / "report.json").read_text())
    assert report["problems"] == []
    assert report["images"] == {"labelled": 12, "holdout": 4, "pool": 4, "test": 6}


def test_a_class_without_an_image_of_the_source(root):
    save(root / "test/zebra/1.png", 1)
    assert "Class 'zebra' has 1 test image(s) and no labelled one" in problems(root)


def test_class_names_that_differ_between_domains(root):
    (root / "test/dog").rename(root / "test/Dog")
    assert "Class 'Dog' has 3 test image(s) and no labelled one (is it 'dog'?)" in problems(root)


def test_one_class_and_no_test_are_told_with_the_names_of_this_section(root):
    shutil.rmtree(root / "source/dog")
    shutil.rmtree(root / "test/dog")
    assert "a classifier needs two. Check adapt.ingest.source" in problems(root)


@pytest.mark.parametrize("place", ["source/cat", "target"])
def test_an_image_of_the_test_in_another_role_is_left_out_and_noted(root, place):
    shutil.copy(root / "test/cat/00.png", root / place / "leak.png")
    report = json.loads((examine(root) / "report.json").read_text())
    assert "1 training images were dropped because they are test images" in report["notes"]
    assert report["images"] == {"labelled": 12, "holdout": 4, "pool": 4, "test": 6}


def test_an_image_of_the_source_in_the_target_is_left_out_and_noted(root):
    shutil.copy(root / "source/cat/00.png", root / "target/copy.png")
    report = json.loads((examine(root) / "report.json").read_text())
    assert "1 spare copies of images were dropped" in report["notes"]
    assert report["images"]["pool"] == 4


def films(root, film=1):
    """Two frames of each film in source/, and one picture of a film in test/."""
    for kind in ("cat", "dog"):
        for path in sorted((root / "source" / kind).iterdir()):
            number = int(path.stem)
            path.rename(path.with_name(f"{kind}film{number // 2}_{number % 2}.png"))
    save(root / f"test/cat/catfilm{film}_9.png", 77)


def test_no_film_of_the_source_is_torn(root):
    films(root, film=9)
    report = json.loads((examine(root, groups="[a-z]+film[0-9]+") / "report.json").read_text())
    assert report["images"] == {"labelled": 12, "holdout": 4, "pool": 4, "test": 7}
    rows = read_split(root.parent / "split").to_pylist()
    taught, held = (
        {row["id"].rpartition("_")[0] for row in rows if row["role"] == role} for role in ("labelled", "holdout")
    )
    assert (len(taught), len(held), taught & held) == (6, 2, set())


def test_a_film_of_the_source_in_the_test_and_a_pattern_that_finds_none_are_told_with_a_way_out(root):
    films(root)
    assert "Move each group to one side, or give those of the target other names" in problems(
        root, groups="[a-z]+film[0-9]+"
    )
    assert "Let it find something here too, or remove it" in problems(root, groups="patient")


def test_a_target_without_images(root):
    for path in (root / "target").iterdir():
        path.write_text("<html>")
    assert "The target has no image, so there is nothing to adapt to. Set adapt.ingest.target" in problems(root)


def test_a_source_of_which_nothing_is_held_out(root):
    assert "Raise adapt.holdout" in problems(root, holdout=0.01)
