"""A smaller network of depth, from a specialist's folder to a model that its stage can measure."""

import dataclasses
from pathlib import Path

import pytest
from interrupted import interrupted
from multi_work import FOLDER, SHARES, SPLIT, params_of, prepare

from tasks.compact_depth import compact_depth
from tasks.io import read_json
from tasks.multi_evaluate import multi_evaluate
from tasks.multi_teacher import multi_teacher
from tutelage.methods.multitask import MULTITASK_METHODS
from tutelage.models.multi_files import load_multi
from tutelage.types import BadInput

TEACHER = FOLDER / "teachers/depth"


def small(method="ail_regression"):
    params = params_of(("depth",))
    wanted = dataclasses.replace(
        params.compact_depth, network={"channels": 16}, dense_width=8, steps=3, labelled_batch=2,
        method=MULTITASK_METHODS[method](),
    )  # fmt: skip
    compute = dataclasses.replace(params.compute, checkpoint_seconds=0.0)
    return dataclasses.replace(params, compact_depth=wanted, compute=compute)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("depth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        multi_teacher(SPLIT, SHARES, params=prepare(root, ("depth",), params=small()), out=TEACHER)
    return root


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("method", ["aht_regression", "cakd_regression"])  # those with memories and networks beside
def test_a_student_that_is_cut_off_ends_with_the_same_bytes(method, tmp_path):
    params = small(method)
    with interrupted(2):
        compact_depth(SPLIT, SHARES, TEACHER, params=params, out=tmp_path / "student")
    assert len(list(Path(".tutelage/checkpoints").rglob("run.pt"))) == 1
    out = compact_depth(SPLIT, SHARES, TEACHER, params=params, out=tmp_path / "student")
    whole = compact_depth(SPLIT, SHARES, TEACHER, params=params, out=tmp_path / "other/student")
    for file in ("model.safetensors", "curve.csv"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()


def test_a_student_is_smaller_has_one_head_and_can_be_measured(tmp_path):
    out = compact_depth(SPLIT, SHARES, TEACHER, params=small(), out=tmp_path / "student")
    net, card = load_multi(out / "model.safetensors")
    assert (net.tasks, card.spec.detector.channels, card.spec.dense_width) == (("depth",), 16, 8)
    assert card.method.startswith("AILRegression")
    assert (out / "curve.csv").read_text().splitlines()[0] == "step,loss,depth,imitation"
    told = multi_evaluate(SPLIT, SHARES, out, params=small(), out=tmp_path / "evaluation")
    assert set(read_json(told / "metrics.json")["scores"]) == {"depth"}
    alone = compact_depth(SPLIT, SHARES, TEACHER, params=small(), out=tmp_path / "baseline")
    plain, of = load_multi(alone / "model.safetensors")
    assert (plain.spec, of.method[:4]) == (net.spec, "MuST")


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(BadInput, match="names no network of depth: write"):
        compact_depth(SPLIT, SHARES, TEACHER, params=small(), out=tmp_path / "depth")
    params = small()
    full = params.multitask.network
    larger = dataclasses.replace(full, detector=dataclasses.replace(full.detector, image_size=64))
    params = dataclasses.replace(params, multitask=dataclasses.replace(params.multitask, network=larger))
    with pytest.raises(BadInput, match=r"at 32 pixels, its student .* at 64\. Train the teacher again"):
        compact_depth(SPLIT, SHARES, TEACHER, params=params, out=tmp_path / "student")
