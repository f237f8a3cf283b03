from collections import Counter

import cv2
import pytest
from own_images import class_folders, params, save

from tasks.ingest import ingest
from tasks.split import split
from tutelage.data.images import Images
from tutelage.data.manifest import read_manifest, read_split, read_truth


@pytest.fixture
def ingested(tmp_path):
    class_folders(tmp_path / "images")
    save(tmp_path / "images/pool/x.png", 99)
    wanted = params(pool="pool", test="test")
    return ingest(tmp_path / "images", params=wanted, out=tmp_path / "ingest")


def test_roles_labels_and_hidden_labels(tmp_path, ingested):
    out = split(ingested, params=params(split={"labels_per_class": 4}), out=tmp_path / "split")
    table, truth = read_split(out), read_truth(out)
    assert Counter(table["role"].to_pylist()) == {"labelled": 6, "holdout": 2, "pool": 9, "test": 6}
    rows = {row["id"]: row for row in table.to_pylist()}
    assert len(truth) == 8
    for name, label in truth.items():
        assert rows[name]["role"] == "pool"
        assert ("cat", "dog")[label] in name
    assert "pool/x.png" not in truth
    assert len(Images.open(table, 16).many(table["offset"].to_numpy() * 0)) == len(rows)  # the files are found


def test_two_draws_are_equal_bytes_and_a_seed_changes_them(tmp_path, ingested):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        split(ingested, params=params(seed=seed, split={"labels_per_class": 4}), out=tmp_path / name)
    for file in ("split.parquet", "truth.parquet"):
        one, two, three = ((tmp_path / name / file).read_bytes() for name in ("one", "two", "three"))
        assert one == two != three


def test_new_images_leave_the_test_alone(tmp_path):
    """Copies in another format, whose names come first and which are therefore kept, included."""
    root, wanted = class_folders(tmp_path / "images"), params()

    def test_images(name):
        found = ingest(root, params=wanted, out=tmp_path / "i")
        pixels = dict(zip(*(read_manifest(found)[column].to_pylist() for column in ("id", "pixels")), strict=True))
        out = split(found, params=wanted, out=tmp_path / name)
        return {pixels[row["id"]] for row in read_split(out).to_pylist() if row["role"] == "test"}

    before = test_images("one")
    for path in list(root.glob("train/*/*.png")):
        cv2.imwrite(str(path.with_name(f"+{path.stem}.bmp")), cv2.imread(str(path)))
    for place in range(20):
        save(root / "train/cat" / f"new-{place}.png", 300 + place)
    assert before
    assert before <= test_images("two")
