import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from interrupted import interrupted
from project import merged, recipe, write
from small_work import contents, make_split, small_params

from tasks.io import read_json
from tasks.keypoints import _key, keypoints
from tasks.keypoints_params import KeypointsParams
from tasks.params import load
from tutelage.data.keypoints import EXTREMES, Found, Poses
from tutelage.models.poses import PoseSpec, load_poses
from tutelage.train.okdhp import OKDHP
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput


def params_for(**fields):
    wanted = KeypointsParams(
        network=PoseSpec(width=8, depth=1, image_size=12), steps=3, batch=4,
        optimiser=Optimiser(lr=0.01, warmup_steps=1), **fields,
    )  # fmt: skip
    params = small_params()
    return replace(params, keypoints=wanted, compute=replace(params.compute, checkpoint_seconds=0.0))


def test_networks_are_the_same_where_a_run_was_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split, params = make_split(tmp_path), params_for()
    whole = contents(keypoints(split, params=params, out=tmp_path / "whole"))
    for step in (2, 3):  # in the first network, and in the second
        with interrupted(step):
            keypoints(split, params=params, out=tmp_path / "cut")
    assert contents(keypoints(split, params=params, out=tmp_path / "cut")) == whole
    assert not list(tmp_path.glob(".tutelage/checkpoints/*"))
    assert {"alone.safetensors", "student.safetensors", "alone.csv", "student.csv"} < set(whole)
    scores = read_json(tmp_path / "whole/scores.json")
    assert scores["objects"] == {"train": 42, "test": 90}
    assert {*scores["test"]} == {"alone", "student", "ensemble"}
    for one in scores["test"].values():
        assert one["pck"] == pytest.approx(np.mean([*one["joints"].values()]))
    sizes = [scores["test"][name]["parameters"] for name in ("alone", "student", "ensemble")]
    assert sizes[0] == sizes[1] < sizes[2]
    student = load_poses(tmp_path / "whole/student.safetensors")
    assert (student.spec, student.joints) == (params.keypoints.network, [*EXTREMES])


@pytest.mark.parametrize("change", [{"threads": 2}, {"precision": "bf16"}])
def test_a_checkpoint_of_other_arithmetic_is_not_continued_and_one_of_other_workers_is(change):
    params, train = (
        params_for(),
        Poses([Found(np.zeros((8, 8, 3), np.uint8), np.ones((1, 2), np.float32), np.array([True]), 8.0)], ("top",)),
    )

    def key(**changes):
        return _key(replace(params, compute=replace(params.compute, **changes)), train)

    assert key(**change) != key()
    assert key(workers=3, checkpoint_seconds=1.0) == key()


def coco(folder, name, grey, **marked):
    """NAME.json in `folder`, of one object in one picture of that grey."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.png"), np.full((20, 30, 3), grey, np.uint8))
    content = {
        "images": [{"id": 1, "file_name": f"{name}.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 12, 12], **marked}],
        "categories": [{"id": 1, "name": "thing"}],
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_points_that_are_tested_are_those_that_were_learned_in_other_pictures(tmp_path):
    four = {"keypoints": [6, 6, 2, 9, 9, 2, 12, 12, 2, 14, 14, 2]}  # as many as a mask has extreme ones
    coco(tmp_path / "own", "labelled", 90, **four)
    coco(tmp_path / "own", "test", 120, segmentation=[[4, 4, 16, 4, 16, 16, 4, 16]])
    with pytest.raises(BadInput, match=r"labelled.json has the key points point 1.*test.json top, bottom, left, right"):
        keypoints(tmp_path / "own", params=params_for(), out=tmp_path / "out")
    coco(tmp_path / "own", "test", 90, **four)
    with pytest.raises(BadInput, match=r"1 of 1 objects of .*test.json are in .*labelled.json too"):
        keypoints(tmp_path / "own", params=params_for(), out=tmp_path / "out")


def test_a_users_key_points_are_learned_and_tested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, grey in (("labelled", 90), ("test", 120)):
        coco(tmp_path / "own", name, grey, keypoints=[9, 9, 2, 0, 0, 0])
    out = keypoints(tmp_path / "own", params=params_for(learn=OKDHP(branches=1)), out=tmp_path / "out")
    scores = read_json(out / "scores.json")
    assert {*scores["test"]} == {"alone", "student"}
    assert scores["test"]["student"]["joints"]["point 2"] is None
    assert (out / "alone.csv").read_text() == (out / "student.csv").read_text()


def test_the_recipe_is_params(tmp_path):
    assert load(write(tmp_path / "params.yaml", merged(recipe("okdhp")))).keypoints.learn == OKDHP()
