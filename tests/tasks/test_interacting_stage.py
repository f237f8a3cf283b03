"""Two networks that answer as one pass through the stages as any other network does."""

from dataclasses import replace

import pytest
from interrupted import interrupted
from small_work import SPEC, contents, make_split, small_params

from tasks.evaluate import evaluate
from tasks.export import export
from tasks.io import read_json
from tasks.teacher import teacher
from tutelage.methods.afid import AFID
from tutelage.models.files import load_model


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_split(tmp_path)


def test_a_pair_is_trained_cut_off_tested_and_exported_as_one(split, tmp_path):
    params = small_params()
    learn = replace(params.teacher, steps=3, labelled_batch=4, method=AFID())
    params = replace(
        params, teacher=learn, network=replace(SPEC, name="interacting_resnet"),
        compute=replace(params.compute, checkpoint_seconds=0.0),
    )  # fmt: skip
    whole = teacher(split, tmp_path, params=params, out=tmp_path / "whole")
    with interrupted(2):
        teacher(split, tmp_path, params=params, out=tmp_path / "cut")
    assert contents(teacher(split, tmp_path, params=params, out=tmp_path / "cut")) == contents(whole)
    card = load_model(whole / "model.safetensors")[1]
    assert (card.spec.name, card.members) == ("interacting_resnet", 1)
    tested = evaluate(split, whole, params=params, out=tmp_path / "evaluation")
    assert read_json(tested / "metrics.json")["parameters"] == card.parameters
    told = read_json(export(split, whole, params=params, out=tmp_path / "export") / "export.json")
    assert told["variants"]["fp32"]["max_difference"] <= 1e-4
