"""A model's answers for images that nobody has ingested."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from box_work import prepare
from multi_fixtures import multi_net
from project import ROOT
from pycocotools.coco import COCO
from small_work import CLASSES, contents, make_split, new_network, plant_calibration, save, small_params, train

from tasks.__main__ import main
from tasks.box_answers import read_found
from tasks.box_evaluate import box_evaluate
from tasks.evaluate import evaluate
from tasks.predict import predict
from tutelage.data.decoding import letterbox
from tutelage.data.sources import scan
from tutelage.models.backbone import NetworkSpec
from tutelage.models.files import load_detector, load_model, save_committee
from tutelage.models.multi_files import save_multi
from tutelage.train.detect import in_original
from tutelage.types import BadInput


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A split, a model, and its test images as somebody's new ones."""
    monkeypatch.chdir(tmp_path)
    split = make_split(tmp_path)
    model = save(tmp_path / "model", train(new_network(1), split, 5))
    (tmp_path / "new").mkdir()
    for path in (tmp_path / "images").glob("test-*"):
        shutil.copy(path, tmp_path / "new")
    return split, model, tmp_path / "new"


def rows(out, name="predictions.csv"):
    with (out / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def about(out):
    return json.loads((out / "predicted.json").read_text())


def calibration(folder, model, limits, **changes):
    """Thresholds that this model is said to have."""
    path = plant_calibration(folder) / "calibration.json"
    content = json.loads(path.read_text())
    for row, limit in zip(content["classes"], limits, strict=True):
        row["threshold"] = limit
    sha = load_model(model / "model.safetensors")[1].sha256
    path.write_text(json.dumps(content | {"teacher": sha, "alignment": None} | changes))
    return folder


@pytest.mark.parametrize("kind", ["network", "committee"])
def test_answers_are_those_of_the_test(world, tmp_path, kind):
    split, model, new = world
    if kind == "committee":
        members = [new_network(2), new_network(3, NetworkSpec(name="small_resnet", width=8, image_size=12))]
        save_committee(model / "model.safetensors", members, classes=CLASSES, method="")
    params = replace(small_params(), evaluate=replace(small_params().evaluate, batch=7))
    tested = evaluate(split, model, params=params, out=tmp_path / "tested")
    truth = pq.read_table(tested / "predictions.parquet").to_pydict()
    found = rows(predict(model, new, params=params, out=tmp_path / "out"))
    assert [f"labelled/{row['image']}" for row in found] == truth["id"]
    assert [row["class"] for row in found] == [CLASSES[place] for place in truth["predicted"]]
    for row, probabilities in zip(found, truth["probabilities"], strict=True):
        names = [row[name] for name in ("class", "class_2", "class_3")]
        scores = [float(row[name]) for name in ("score", "score_2", "score_3")]
        assert sorted(names) == sorted(CLASSES)
        assert scores == sorted(scores, reverse=True)
        np.testing.assert_allclose(scores, [probabilities[CLASSES.index(name)] for name in names], atol=1e-6)
    told = about(tmp_path / "out")
    assert (told["images"], told["refused"], told["sure"], told["classes"]) == (90, 0, None, CLASSES)
    assert told["model"] == load_model(model / "model.safetensors")[1].sha256


def test_answers_that_somebody_has_corrected_are_not_replaced(world, tmp_path):
    _, model, new = world
    out = predict(model, new, params=small_params(), out=tmp_path / "out")
    text = (out / "predictions.csv").read_text()
    (out / "predictions.csv").write_text(text.replace("image,class", "image,klass"))
    before = contents(out)
    with pytest.raises(BadInput, match=r"somebody has changed .*out/predictions\.csv, which would be replaced\. Name"):
        predict(model, new, params=small_params(), out=out)
    assert contents(out) == before
    (out / "predictions.csv").write_text(text)
    predict(model, new, params=small_params(), out=out)


def test_no_more_than_five_classes_are_told(world, tmp_path):
    from tutelage.models.backbone import create

    names = list("abcdefg")
    model = save(tmp_path / "seven", create(NetworkSpec(name="small_resnet", width=4, image_size=12), 7), names)
    found = rows(predict(model, world[2], params=small_params(), out=tmp_path / "out"))
    assert list(found[0]) == [
        "image",
        "class",
        "score",
        *(f"{n}_{k}" for k in (2, 3, 4, 5) for n in ("class", "score")),
    ]


def test_a_file_that_cannot_be_read_stops_nothing_and_copies_have_rows(world, tmp_path, capsys):
    _, model, new = world
    (new / "fake.jpg").write_bytes(b"<html>")
    (new / "deep").mkdir()
    (new / "deep/cut, off.png").write_bytes((new / "test-000.png").read_bytes()[:60])
    shutil.copy(new / "test-000.png", new / "deep/copy.png")
    out = predict(model, new, params=small_params(), out=tmp_path / "out")
    found = rows(out)
    assert [row["image"] for row in found] == ["deep/copy.png", *(f"test-{n:03d}.png" for n in range(90))]
    assert list(found[0].values())[1:] == list(found[1].values())[1:]
    assert [(row["image"], row["reason"]) for row in rows(out, "refused.csv")] == [
        ("deep/cut, off.png", "truncated"), ("fake.jpg", "not_an_image")
    ]  # fmt: skip
    assert "91 image(s)" in (said := capsys.readouterr().out)
    assert "2 refused" in said
    before = contents(out)
    predict(model / "model.safetensors", new, params=small_params(), out=out)
    assert contents(out) == before
    new_batch = replace(small_params(), evaluate=replace(small_params().evaluate, batch=1))
    one_by_one = predict(model, new, params=new_batch, out=tmp_path / "one")
    assert [row["image"] for row in rows(one_by_one)] == [row["image"] for row in found]


def test_sure_is_what_meets_its_threshold_and_nothing_else_has_a_label(world, tmp_path):
    _, model, new = world
    rules = calibration(tmp_path / "rules", model, [None] * 3, temperature=1.7)
    nothing = rows(predict(model, new, rules, params=small_params(), out=tmp_path / "out"))
    assert {(row["sure"], row["label"]) for row in nothing} == {("no", "")}
    middle = float(np.median([float(row["score"]) for row in nothing]))
    closed = nothing[int(np.argmax([float(row["score"]) for row in nothing]))]["class"]
    limits = {name: None if name == closed else middle for name in CLASSES}
    rules = calibration(tmp_path / "others", model, list(limits.values()), temperature=1.7)
    out = predict(model, new, rules, params=small_params(), out=tmp_path / "out")
    found = rows(out)
    assert {row["sure"] for row in found} == {"yes", "no"}
    for row, before in zip(found, nothing, strict=True):
        assert (row["class"], row["score"]) == (before["class"], before["score"])
        sure = float(row["score"]) >= (limits[row["class"]] or 2)
        assert (row["sure"], row["label"]) == (("yes", row["class"]) if sure else ("no", ""))
    assert about(out)["sure"] == sum(row["sure"] == "yes" for row in found)
    assert about(out)["target_precision"] == 0.9
    shutil.copy(out / "predictions.csv", new / "sure.csv")
    labelled = scan(new, "sure.csv", "labelled")
    sure = {row["image"]: row["class"] for row in found if row["sure"] == "yes"}
    assert {image.path: image.label for image in labelled.found} == sure
    assert [each.reason for each in labelled.refused] == ["unknown_label"] * (len(found) - len(sure))


def test_without_a_calibration_nothing_is_taken_for_a_label(world, tmp_path):
    _, model, new = world
    shutil.copy(predict(model, new, params=small_params(), out=tmp_path / "out") / "predictions.csv", new)
    with pytest.raises(BadInput, match="needs the column"):
        scan(new, "predictions.csv", "labelled")


def test_calibrated_answers_are_those_of_the_labels(world, tmp_path):
    """The same rules, the same views, the same promise."""
    from tasks.pseudo_label import pseudo_label

    split, model, _ = world
    params = small_params()
    factors = {"temperature": 1.3, "alignment": [1.2, 1.0, 0.9]}
    rules = calibration(tmp_path / "rules", model, [0.4, None, 0.45], views=3, flip=True, **factors)
    labels = pseudo_label(split, model, rules, params=params, out=tmp_path / "labels")
    store = pq.read_table(labels / "shard-00000.parquet").to_pydict()
    found = rows(predict(model, pool_of(tmp_path), rules, params=params, out=tmp_path / "out"))
    assert set(store["view"]) == {"mean of 3"}
    plain = calibration(tmp_path / "plain", model, [0.4, None, 0.45], **factors)
    other = pseudo_label(split, model, plain, params=params, out=tmp_path / "plain_labels")
    assert pq.read_table(other / "shard-00000.parquet")["calibrated"].to_pylist() != store["calibrated"]
    assert [f"labelled/{row['image']}" for row in found] == store["id"]
    assert [row["sure"] == "yes" for row in found] == store["kept"]
    np.testing.assert_allclose([float(row["score"]) for row in found], store["calibrated"], atol=1e-6)


def pool_of(folder):
    (folder / "pool").mkdir()
    for path in (folder / "images").glob("pool-*"):
        shutil.copy(path, folder / "pool")
    return folder / "pool"


def test_what_is_of_none_of_the_classes_is_never_sure(world, tmp_path):
    """The verdict of the labels, whose hold-out drew the border."""
    from tasks.calibrate import calibrate
    from tasks.pseudo_label import pseudo_label

    split, model, _ = world
    params = replace(small_params(), calibrate=replace(small_params().calibrate, in_distribution=0.5, floor=0.0))
    rules = calibrate(split, model, params=params, out=tmp_path / "rules")
    content = json.loads((rules / "calibration.json").read_text())
    content["classes"] = [row | {"threshold": 0.0} for row in content["classes"]]
    (rules / "calibration.json").write_text(json.dumps(content))
    labels = pseudo_label(split, model, rules, params=params, out=tmp_path / "labels")
    store = pq.read_table(labels / "shard-00000.parquet").to_pydict()
    found = rows(predict(model, pool_of(tmp_path), rules, params=params, out=tmp_path / "out"))
    assert [row["out_of_distribution"] == "yes" for row in found] == [
        r == "out_of_distribution" for r in store["reason"]
    ]
    assert [row["sure"] == "yes" for row in found] == store["kept"]
    assert all((row["label"] == "") == (row["sure"] == "no") for row in found)
    told = about(tmp_path / "out")
    assert 0 < told["out_of_distribution"] < 60
    assert told["out_of_distribution"] + told["sure"] == len(found)


def test_one_image_and_a_shard(world, tmp_path):
    import tarfile

    _, model, new = world
    whole = {row["image"]: row["score"] for row in rows(predict(model, new, params=small_params(), out=tmp_path / "a"))}
    (one,) = rows(predict(model, new / "test-004.png", params=small_params(), out=tmp_path / "b"))
    assert one["image"] == "test-004.png"
    assert abs(float(one["score"]) - float(whole["test-004.png"])) < 1e-5
    with tarfile.open(tmp_path / "new.tar", "w") as tar:
        tar.add(new, "x")
    found = rows(predict(model, tmp_path / "new.tar", params=small_params(), out=tmp_path / "c"))
    assert {row["image"].removeprefix("new.tar/x/"): row["score"] for row in found} == whole


WRONG = {
    "no model": ("new", "new", None, "out", "MODEL is new, which holds no model.safetensors. .* The order is MODEL"),
    "an image": ("new/test-000.png", "new", None, "out", "which is no .safetensors"),
    "unavailable": ("lost", "new", None, "out", "where there is no model: no hidden labels"),
    "several tasks": ("multi", "new", None, "out", "is a model for several tasks, .* `python -m tasks multi_label"),
    "no images": ("model", "empty", None, "out", "IMAGES is empty, which has no image that can be read. Name"),
    "unreadable": ("model", "bad", None, "out", r"can be read \(x.png: the content is not JPEG"),
    "a text": ("model", "bad.md", None, "out", "bad.md is no image by its name. Name a folder, an image"),
    "inside": ("model", "new", None, "new/out", r"OUT is new/out, inside IMAGES \(new\)"),
    "another's": ("model", "new", None, "rules", "OUT is rules, which holds calibration.json and was not written by"),
    "other rules": ("model", "new", "rules", "out", "was made for another model than model/model.safetensors"),
    "no rules": ("model", "new", "bad", "out", "bad.calibration.json does not exist, so bad is no calibration"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_answered_is_told_and_leaves_nothing(world, case):
    calibration(Path("rules"), Path("model"), [0.5] * 3, teacher="another")
    for name in ("empty", "bad", "multi", "lost"):
        Path(name).mkdir()
    Path("bad/x.png").write_bytes(b"<html>")
    Path("bad.md").touch()
    Path("lost/unavailable.json").write_text('{"reason": "no hidden labels"}')
    save_multi(Path("multi/model.safetensors"), multi_net(), classes=["a", "b", "c"], method="")
    before = contents(Path())
    *paths, out, said = WRONG[case]
    with pytest.raises(BadInput, match=said):
        predict(*(Path(path) for path in paths if path), params=small_params(), out=Path(out))
    assert contents(Path()) == before
    assert not list(Path().rglob("*.tutelage.*"))


def test_the_command(world, tmp_path, capsys):
    written = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        written.replace("workers: 1", "workers: 0")
    )  # pytest's process is no place to fork
    assert main(["predict", "model", "new", "out"]) == 0
    assert main(["predict", "model", "new", "out"]) == 0  # its own OUT is replaced
    assert main(["predict", "model", "new", "images"]) == 2
    assert "OUT is images" in capsys.readouterr().err
    assert len(rows(Path("out"))) == 90


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params, folder = prepare(root)
        box_evaluate(folder / "split", folder / "teacher", params=params, out=folder / "evaluation")
    return root, params, folder


def test_boxes_are_those_of_the_test_as_coco_reads_them(scenes, tmp_path):
    root, params, folder = scenes
    ids, found = read_found(folder / "evaluation")
    out = predict(folder / "teacher", root / "images/test", params=params, out=tmp_path / "out")
    coco = COCO(out / "predictions.json")
    assert [f"test/test/{coco.imgs[number]['file_name']}" for number in sorted(coco.imgs)] == ids
    assert [cat["name"] for cat in coco.loadCats(coco.getCatIds())] == ["cat", "dog"]
    assert {(one["width"], one["height"]) for one in coco.imgs.values()} == {(16, 16)}
    loaded = coco.loadRes(json.loads((out / "predictions.json").read_text())["annotations"])
    assert len(loaded.anns) == sum(len(one.scores) for one in found) > 0
    for number, one in enumerate(found, start=1):
        said = loaded.loadAnns(loaded.getAnnIds(imgIds=number))
        x, y, wide, high = np.array([each["bbox"] for each in said]).T
        np.testing.assert_allclose(np.stack([x, y, x + wide, y + high], axis=1), one.places, atol=2e-3)
        np.testing.assert_allclose([each["score"] for each in said], one.scores, atol=1e-6)
        assert [each["category_id"] - 1 for each in said] == one.labels.tolist()
    assert (about(out)["kind"], about(out)["images"], about(out)["sure"]) == ("detection", 4, None)


def test_a_detector_sees_an_image_that_is_no_square_in_a_letterbox(scenes, tmp_path):
    _, params, folder = scenes
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8), (40, 20))
    cv2.imwrite(str(tmp_path / "wide.png"), pixels[:, :, ::-1])
    net, card = load_detector(folder / "teacher/model.safetensors")
    seen = torch.from_numpy(letterbox(pixels, card.image_size)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        wanted = in_original(net(seen)[0], np.array([40, 20]), card.image_size)
    exact = replace(params, compute=replace(params.compute, precision="fp32"))
    out = predict(folder / "teacher", tmp_path / "wide.png", params=exact, out=tmp_path / "out")
    boxes = np.array([one["bbox"] for one in json.loads((out / "predictions.json").read_text())["annotations"]])
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], wanted.places[:, 2:], atol=2e-3)
    np.testing.assert_allclose(boxes[:, :2], wanted.places[:, :2], atol=2e-3)


def test_boxes_take_no_calibration(scenes, tmp_path):
    root, params, folder = scenes
    with pytest.raises(BadInput, match=r"is a detector: its boxes keep their own scores. Leave .* out"):
        predict(folder / "teacher", root / "images/test", folder, params=params, out=tmp_path / "out")
