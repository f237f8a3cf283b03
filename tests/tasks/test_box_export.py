"""Pseudo-boxes as a file that other programs open."""

import dataclasses
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from box_work import small
from project import known
from pycocotools.coco import COCO
from scene_work import coco_set

from tasks.box_export import box_export
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.data import pseudo_boxes as store
from tutelage.data.boxes import Found
from tutelage.data.manifest import read_split
from tutelage.data.pseudo_labels import write_shards
from tutelage.types import BadInput

KEPT = [[True, False], [False, False], [True, True], []]  # of the boxes of each image


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A split whose pool has four images, and pseudo-boxes of it."""
    monkeypatch.chdir(tmp_path)
    params = small(known())
    coco_set(tmp_path / "images", "labelled", 8)
    coco_set(tmp_path / "images", "pool", len(KEPT), start=20)
    ingested = scenes_ingest(tmp_path / "images", params=of(params, test=None), out=tmp_path / "ingest")
    scenes_split(ingested, params=params, out=tmp_path / "split")
    return params, tmp_path, plant(tmp_path, pool(tmp_path))


def of(params, **changes):
    changed = dataclasses.replace(params.detection.ingest, **changes)
    return dataclasses.replace(params, detection=dataclasses.replace(params.detection, ingest=changed))


def pool(root):
    rows = read_split(root / "split").select(["id", "role"]).to_pylist()
    return [row["id"] for row in rows if row["role"] == "pool"]


def plant(root, ids):
    """A store that says the same of each image that is named: the first box is a cat, the second a dog."""
    labels = root / "labels"
    labels.mkdir(exist_ok=True)
    said = []
    for kept in KEPT[: len(ids)]:
        number = len(kept)
        found = Found(
            np.array([[1, 2, 5, 9], [0, 4, 10.5, 16]], np.float32)[:number],
            np.arange(number),
            np.array([0.3, 0.4], np.float32)[:number],
        )
        one = np.ones(number, np.float32)
        said.append(store.Verdict(found, 2 * found.scores, np.array(kept, bool), ["?"] * number, one, one))
    list(write_shards(labels, [(0, store.to_table(ids, said, teacher="t", number=1))], store.SCHEMA))
    store.write_manifest(labels, ["cat", "dog"], teacher="t", number=1)
    return labels


def exported(work):
    params, root, labels = work
    return COCO(box_export(root / "split", labels, params=params, out=root / "exported") / "pseudo_boxes.json")


def test_pycocotools_opens_the_kept_boxes_with_their_calibrated_scores(work, capsys):
    opened = exported(work)
    assert [one["name"] for one in opened.loadCats(opened.getCatIds())] == ["cat", "dog"]
    first, second, third = opened.loadAnns(opened.getAnnIds())
    assert (first["bbox"], first["area"], first["category_id"]) == ([1, 2, 4, 7], 28, 1)
    assert (third["bbox"], third["area"], third["category_id"]) == ([0, 4, 10.5, 12], 126, 2)
    assert [one["score"] for one in (first, second, third)] == pytest.approx([0.6, 0.6, 0.8])


def test_an_image_without_a_kept_box_is_left_out_as_nobody_knows_that_it_is_empty(work, capsys):
    opened, ids = exported(work), pool(work[1])
    named = [image["file_name"] for image in opened.loadImgs(opened.getImgIds())]
    assert named == [ids[0].removeprefix("pool/"), ids[2].removeprefix("pool/")]
    assert "2 of 4 image(s) of the pool" in capsys.readouterr().out


def taken_back(work, **wanted):
    params, root, _ = work
    exported(work)
    shutil.copy("exported/pseudo_boxes.json", "images/pseudo_boxes.json")
    back = of(params, labelled="pseudo_boxes.json", pool=None, test=None, **wanted)
    return scenes_ingest(root / "images", params=back, out=root / "back")


def test_ingest_takes_them_back_as_labels(work, capsys):
    root, ingested = work[1], taken_back(work)
    boxes = pq.read_table(ingested / "boxes.parquet").select(["id", "label", "x2"]).to_pylist()
    first, third = (pool(root)[place].replace("pool/", "labelled/", 1) for place in (0, 2))
    assert [tuple(row.values()) for row in boxes] == [(first, 0, 5), (third, 0, 5), (third, 1, 10.5)]


def test_where_another_folder_is_named_for_labelled_images_the_way_back_is_null(work):
    with pytest.raises(
        BadInput, match=r"detection\.ingest\.labelled_images, or write null where they lie beside the JSON"
    ):
        taken_back(work, labelled_images="labelled")


def test_a_store_of_another_pool_is_refused(work):
    plant(work[1], pool(work[1])[:3])
    with pytest.raises(BadInput, match="labels another pool than the split holds"):
        exported(work)
