import json
import shutil
from dataclasses import replace

import pytest
from small_work import darken, make_split, new_network, save, small_params, train

from tasks.drift import drift
from tasks.io import write_json
from tasks.training import NOTE
from tutelage.types import BadInput

ROLES = {"labelled": 12, "holdout": 90, "pool": 90, "test": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder / "day", ROLES)
    return split, save(folder / "model", train(new_network(0), split, 12))


def dark(tmp_path):
    """The same kind of images at night."""
    split = make_split(tmp_path / "night", ROLES)
    darken(tmp_path / "night")
    return split


def test_the_same_kind_of_images_is_no_drift_and_night_is(world, tmp_path):
    out = drift(*world, dark(tmp_path), params=small_params(), out=tmp_path / "drift")
    found = json.loads((out / "drift.json").read_text())
    assert found["pool"]["kind"] == "none"
    assert found["new"]["kind"] in ("appearance", "both")
    fired = {test["name"] for test in found["new"]["tests"] if test["fires"]}
    assert "pixels" in fired
    report = (out / "report.md").read_text()
    assert "## The pool: none" in report
    assert found["new"]["advice"] in report


def test_equal_inputs_give_equal_bytes(world, tmp_path):
    first, second = (drift(*world, params=small_params(), out=tmp_path / name) for name in ("one", "two"))
    for name in ("drift.json", "report.md"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_split_without_a_pool_is_refused(tmp_path, world):
    split = make_split(tmp_path / "alone", ROLES | {"pool": 1})
    with pytest.raises(BadInput, match=r"pool has 1 image.*ingest.pool"):
        drift(split, world[1], params=small_params(), out=tmp_path / "drift")


def test_a_model_that_has_learned_from_the_hold_out_is_refused(tmp_path, world):
    split, model = world
    learned = shutil.copytree(model, tmp_path / "model")
    write_json(learned / NOTE, ["holdout", "labelled"])
    with pytest.raises(BadInput, match="model has learned from the hold-out"):
        drift(split, learned, params=small_params(), out=tmp_path / "drift")


def test_too_few_draws_for_the_level_are_refused(tmp_path, world):
    params = small_params()
    strict = replace(params, adapt=replace(params.adapt, drift=replace(params.adapt.drift, level=0.001)))
    with pytest.raises(BadInput, match="Raise draws"):
        drift(*world, params=strict, out=tmp_path / "drift")
