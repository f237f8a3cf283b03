import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pytest
from own_images import class_folders, params, save

from tasks.doctor import doctor
from tasks.ingest import ingest
from tasks.split import split
from tutelage.data.manifest import read_manifest, read_split, read_truth, write_manifest, write_split
from tutelage.types import BadInput


@pytest.fixture
def root(tmp_path):
    return class_folders(tmp_path / "images")


def examine(root, *, spoil=lambda work: None, judge=None, **wanted):
    """report.json of the doctor after ingest and split; `spoil` changes files in between."""
    work, wanted = root.parent / "work", params(**{"test": "test", **wanted})
    split(ingest(root, params=wanted, out=work / "ingest"), params=wanted, out=work / "split")
    spoil(work)
    out = doctor(work / "ingest", work / "split", params=judge or wanted, out=work / "doctor")
    return json.loads((out / "report.json").read_text())


def problems(root, **wanted):
    with pytest.raises(BadInput) as caught:
        examine(root, **wanted)
    assert not (root.parent / "work/doctor").exists()
    return str(caught.value)


def test_good_data_gets_counts_and_notes(root):
    save(root / "pool/1.png", 99)
    report = examine(root, pool="pool", split={"labels_per_class": 8})
    assert report["problems"] == []
    assert report["images"] == {"labelled": 12, "holdout": 4, "pool": 1, "test": 6}
    assert report["classes"] == {name: {"labelled": 6, "holdout": 2, "test": 3} for name in ("cat", "dog")}
    [note] = report["notes"]
    assert note.startswith("The hold-out is too small")
    assert "it takes 22 images" in note  # 0.9 ** 22 < 0.1 < 0.9 ** 21
    assert "| cat | 6 | 2 | 3 |" in (root.parent / "work/doctor/report.md").read_text()


def test_an_empty_pool_and_a_thin_class_are_notes(root):
    notes = " ".join(examine(root, split={"labels_per_class": 9})["notes"])
    assert "The pool is empty: training goes on with labels alone" in notes
    assert "Fewer labelled images than split.labels_per_class (9): cat (8), dog (8)" in notes


def test_without_a_holdout_nothing_is_said_to_pool_evidence(root):
    notes = " ".join(examine(root, split={"labels_per_class": 1})["notes"])
    assert "No labelled image is held out: no threshold can be proven" in notes
    assert "pool their evidence" not in notes


def test_a_share_that_the_hold_out_cannot_promise_is_told_before_the_training(root):
    wanted = params(test="test", split={"labels_per_class": 8})
    asks = replace(wanted, calibrate=replace(wanted.calibrate, in_distribution=0.9))
    with pytest.raises(BadInput, match=r"in_distribution is 0\.9, which takes 9 hold-out images .* there are 4\."):
        examine(root, split={"labels_per_class": 8}, judge=asks)
    examine(
        root, split={"labels_per_class": 8}, judge=replace(asks, calibrate=replace(asks.calibrate, in_distribution=0.8))
    )


def test_a_pattern_of_slices_that_finds_nothing_is_told_before_the_training(root):
    wanted = params(test="test")
    asks = replace(wanted, judge=replace(wanted.judge, slices="night"))
    assert "judge.slices (night) finds nothing in the path of any test image, such as test/" in problems(
        root, judge=asks
    )
    examine(root, judge=replace(asks, judge=replace(wanted.judge, slices="(cat|dog)/")))


def test_frames_of_a_film_promise_no_more_than_one_image(root):
    """Ten frames of each of two films are held out: one by one they would do for both."""
    for film, name in enumerate(("cat", "cat", "dog", "dog")):
        for frame in range(10):
            save(root / f"films/{name}/{film}-{frame}.png", 100 + 10 * film + frame)
    wanted = {"labelled": "films", "split": {"groups": "([0-9]+)-", "holdout": 0.5}}
    asked = replace(params().calibrate, in_distribution=0.95, target_precision=0.8)
    judge = replace(params(test="test", **wanted), calibrate=asked)
    told = problems(root, judge=judge, **wanted)
    assert "takes 19 hold-out images to promise, and there are 2." in told
    assert "By split.groups one image of each group counts" in told
    report = examine(root, judge=replace(judge, calibrate=replace(asked, in_distribution=None)), **wanted)
    assert report["images"]["holdout"] == 20
    thin = next(note for note in report["notes"] if note.startswith("The hold-out is too small"))
    assert "it takes 11 images of a class" in thin
    assert thin.endswith("cat (1), dog (1). By split.groups one image of each group counts")


def test_a_pool_whose_files_were_all_refused(root):
    (root / "pool").mkdir()
    (root / "pool/cut.png").write_bytes((root / "train/cat/00.png").read_bytes()[:60])
    notes = " ".join(examine(root, pool="pool")["notes"])
    assert "The pool is empty, since all 1 file(s) of it were refused" in notes
    assert "Set ingest.pool" not in notes


def test_classes_that_look_the_same_are_a_note(root):
    for place, name in enumerate(("Cat", "cat\u200b", "\uff44og", "cow")):
        save(root / "train" / name / "0.png", 2000 + place)
    notes = examine(root)["notes"]
    alike = [note for note in notes if "look the same" in note]
    assert len(alike) == 2
    assert "'Cat', 'cat', 'cat\\u200b'" in alike[0]


def test_a_class_without_labelled_images(root):
    (root / "train/bird").mkdir()
    told = problems(root)
    assert "1 problem(s)" in told
    assert "Class 'bird' has no labelled image that can be used. Label some, or remove the class" in told


@pytest.mark.parametrize(("name", "nearest"), [("DOG", "dog"), ("dog_", "dog"), ("dogs", "dog")])
def test_class_names_that_differ_between_splits(root, name, nearest):
    (root / "test/dog").rename(root / "test" / name)
    assert f"Class {name!r} has 3 test image(s) and no labelled one (is it {nearest!r}?)" in problems(root)


def test_a_class_that_is_only_in_the_test(root):
    save(root / "test/zebra/1.png", 1)
    told = problems(root, leaks="drop")
    assert "Class 'zebra' has 1 test image(s) and no labelled one. Give it the same name" in told


def test_one_class_is_none(root):
    shutil.rmtree(root / "train/dog")
    shutil.rmtree(root / "test/dog")
    assert "1 class(es) with labelled images; a classifier needs two" in problems(root)


def test_leaks_between_splits(root):
    shutil.copy(root / "test/cat/00.png", root / "train/cat/leak.png")
    told = problems(root)
    assert "1 training image(s) are test images too, such as labelled/cat/leak.png = test/cat/00.png (bytes)" in told
    assert "Set ingest.leaks: drop" in told
    assert "1 problem(s)" in told  # not told again as an overlap of roles
    notes = examine(root, leaks="drop")["notes"]
    assert "1 training images were dropped because they are test images" in notes


def test_a_dropped_leak_with_another_label_is_a_note(root):
    shutil.copy(root / "test/cat/00.png", root / "train/dog/leak.png")
    notes = examine(root, leaks="drop")["notes"]
    assert "1 labelled images were refused because copies of them have another label" in notes


def test_near_leaks(root):
    save(root / "train/cat/leak.jpg", 501, quality=95)  # test/cat/01 saved as JPEG
    assert "labelled/cat/leak.jpg = test/cat/01.png (near)" in problems(root, near_duplicates=6)


def test_that_photographs_were_not_compared_for_near_duplicates_is_a_note(root):
    said = "Near-duplicates (copies that were resized or saved anew) were not looked for"
    assert said not in " ".join(examine(root)["notes"])  # of tiny images different ones look alike
    for place, path in enumerate(sorted(root.rglob("*.png"))):
        save(path, place, size=112)
    [note] = [note for note in examine(root)["notes"] if said in note]
    assert note.endswith("Write ingest.near_duplicates: 4")
    assert said not in " ".join(examine(root, near_duplicates=4)["notes"])


@pytest.mark.parametrize("place", ["train", "test"])
def test_labelled_files_that_cannot_be_read(root, place):
    data = (root / "train/cat/00.png").read_bytes()
    (root / place / "cat/cut.png").write_bytes(data[: len(data) // 2])
    (root / place / "cat/page.png").write_text("<html>")
    told = problems(root)
    assert "2 problem(s)" in told
    assert "1 file(s) refused as truncated, such as " in told
    assert "cat/cut.png: " in told
    assert "refused as not_an_image" in told
    assert "Copy them again from where they came, or remove them" in told


def test_a_pool_can_spare_files_and_notes_in_folders_are_no_images(root):
    save(root / "pool/1.png", 99)
    (root / "pool/cut.png").write_bytes((root / "pool/1.png").read_bytes()[:60])
    (root / "train/cat/readme.txt").write_text("cats")
    notes = " ".join(examine(root, pool="pool")["notes"])
    assert "1 file(s) refused as truncated, such as pool/cut.png" in notes
    assert "1 file(s) refused as not_an_image, such as labelled/cat/readme.txt" in notes


def test_labels_that_contradict_each_other_are_a_note(root):
    shutil.copy(root / "train/cat/00.png", root / "train/dog/copy.png")
    notes = examine(root)["notes"]
    assert "2 labelled images were refused because copies of them have another label" in notes


def test_a_class_that_lacks_images_for_their_labels_is_told_why(root):
    shutil.copytree(root / "train/dog", root / "train/hound")
    told = problems(root)
    assert "Class 'dog' has 3 test image(s) and no labelled one" in told
    assert "  note: 16 labelled images were refused because copies of them have another label" in told


def test_labels_of_the_pool_that_are_no_class(root):
    save(root / "pool/1.png", 99)
    (root / "pool.csv").write_text("image,label\npool/1.png,lion\n")
    assert "Labels in the pool that are no class, taken for none: lion (1)" in examine(root, pool="pool.csv")["notes"]


def test_no_test_image(root):
    shutil.rmtree(root / "test")
    (root / "test/cat").mkdir(parents=True)
    assert "There is no test image, so no model could be judged. Set ingest.test" in problems(root)


def test_a_class_nobody_tests_is_a_note(root):
    shutil.rmtree(root / "test/dog")
    assert "No test image, so the judge cannot see what becomes of them: dog" in examine(root)["notes"]


def test_a_stale_split(root):
    judge = params(test="test", split={"labels_per_class": 2})
    told = problems(root, judge=judge, split={"labels_per_class": 4})
    assert "Run `dvc repro split`" in told


def test_the_same_image_in_two_roles(root):
    def spoil(work):
        """As if ingest had not noticed that a test image is also labelled."""
        rows = read_manifest(work / "ingest").to_pylist()
        by_id = {row["id"]: row for row in rows}
        by_id["labelled/cat/00.png"]["pixels"] = by_id["test/cat/00.png"]["pixels"]
        table = read_manifest(work / "ingest")
        write_manifest(work / "ingest", pa.Table.from_pylist(rows, schema=table.schema))

    told = problems(root, spoil=spoil)
    assert "test/cat/00.png (test) and labelled/cat/00.png (" in told
    assert "are the same image" in told


def test_a_split_of_other_roles(root):
    def spoil(work):
        table = read_split(work / "split")
        roles = ["labelled" if role == "test" else role for role in table["role"].to_pylist()]
        changed = table.set_column(table.schema.get_field_index("role"), "role", pa.array(roles))
        truth = read_truth(work / "split")
        hidden = pa.table({"id": pa.array(list(truth), pa.string()), "label": pa.array(truth.values(), pa.int32())})
        write_split(work / "split", changed, hidden)

    told = problems(root, spoil=spoil)
    assert "The split is not what the manifest and params.yaml give" in told
    assert "There is no test image" in told


def test_groups_are_told(root):
    """The images of each class are 0.png to 7.png: a name is a group of two classes."""
    notes = " ".join(examine(root, test=None, split={"groups": "[0-9]+", "test_fraction": 0.4})["notes"])
    assert "Groups of images: " in notes


def test_groups_that_are_nowhere(root):
    assert "finds nothing in the path of any labelled image, such as labelled/" in problems(
        root, split={"groups": "patient[0-9]+"}
    )


def test_a_bar_in_a_class_does_not_break_its_row():
    from tasks.doctor import _markdown

    counts = {"labelled": 1, "holdout": 2, "test": 3}
    page = _markdown({"images": {"test": 3}, "notes": [], "classes": {"a|b": counts}})
    assert page.splitlines()[-1] == r"| a\|b | 1 | 2 | 3 |"


@pytest.mark.parametrize("groups", [None, "([a-z]+)/"])
def test_no_fraction_sets_the_only_image_or_group_of_a_class_aside(tmp_path, groups):
    images = 1 if groups is None else 3
    root = class_folders(tmp_path / "images", cats=images, dogs=images)
    for fraction in (0.2, 0.99):
        split = {"test_fraction": fraction, "groups": groups}
        said = problems(root, test=None, split=split)
        assert "Set ingest.test, or add labelled images: of a class with one image, or one group, none is set" in said
        assert "raise split.test_fraction" not in said
