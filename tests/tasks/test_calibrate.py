"""The stages calibrate and pseudo_label: what they are handed that is no use."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_work import ROLES, make_split, new_network, save, small_params, train

from tasks.calibrate import calibrate
from tasks.pseudo_label import pseudo_label
from tutelage.metrics.calibration import thresholds
from tutelage.models.files import load_model
from tutelage.types import BadInput


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_split(tmp_path), save(tmp_path / "teacher", new_network(1))


def test_a_teacher_that_is_not_finite_calibrates_and_labels_nothing(world, tmp_path):
    split, teacher = world
    rules = calibrate(split, teacher, params=small_params(), out=tmp_path / "rules")
    network = new_network(1)
    torch.nn.init.constant_(network.net.get_classifier().weight, torch.nan)
    said = r"not finite\. Train it again, at a lower optimiser\.lr"
    with pytest.raises(BadInput, match=said):
        calibrate(split, save(tmp_path / "broken", network), params=small_params(), out=tmp_path / "other")
    digest = json.loads((rules / "calibration.json").read_text())["teacher"]
    broken = save(tmp_path / "broken", network)
    about = (rules / "calibration.json").read_text().replace(digest, _sha256(broken))
    (rules / "calibration.json").write_text(about)
    with pytest.raises(BadInput, match=said):
        pseudo_label(split, broken, rules, params=small_params(), out=tmp_path / "labels")
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 0}, r"is no calibration \(ValueError: its temperature is 0\)"),
        ({"temperature": -1.0}, r"has \[-1.0\]: the numbers of a calibration are finite, and none below 0"),
        ({"temperature": float("nan")}, "finite"),
        ({"temperature": "warm"}, "finite"),
        ({"out_of_distribution": {"limit": float("nan")}}, "finite"),
        ({"out_of_distribution": {}}, "is no calibration"),
        ({"classes": None}, "is no calibration"),
        ({"teacher": None}, "was made for another model"),
        (None, "is no calibration"),
    ],
)
def test_a_calibration_that_cannot_be_read_is_refused(world, tmp_path, change, said):
    split, teacher = world
    whole = {
        "teacher": _sha256(teacher), "temperature": 1.0, "alignment": None, "classes": [{"threshold": None}] * 3,
        "views": 1, "flip": True,
        "out_of_distribution": None,
    }  # fmt: skip
    (tmp_path / "calibration.json").write_text("{" if change is None else json.dumps(whole | change))
    with pytest.raises(BadInput, match=rf"{said}.*Run `dvc repro` to calibrate again"):
        pseudo_label(split, teacher, tmp_path, params=small_params(), out=tmp_path / "labels")


def test_without_a_holdout_no_calibration_error_is_told(tmp_path):
    split = make_split(tmp_path, ROLES | {"holdout": 0})
    out = calibrate(split, save(tmp_path / "teacher", new_network(1)), params=small_params(), out=tmp_path / "rules")
    assert "the calibration error is not known" in (report := (out / "report.md").read_text())
    assert "0.000" not in report.split("Expected yield")[0]


def test_what_scores_promise_is_by_the_cautious_temperature(world, tmp_path, monkeypatch):
    handed = []

    def spy(seen, labels, unseen, cautious, **limits):
        handed.extend([unseen, cautious])
        return thresholds(seen, labels, unseen, cautious, **limits)

    monkeypatch.setattr("tasks.calibrate.thresholds", spy)
    params = replace(small_params(), pseudo_label=replace(small_params().pseudo_label, align=False))
    told = json.loads((calibrate(*world, params=params, out=tmp_path / "rules") / "calibration.json").read_text())
    fitted, cautious = told["temperature"], told["cautious_temperature"]
    odds = [np.log(some[:, 0]) - np.log(some[:, 1]) for some in handed]
    assert cautious > 1.01 * fitted
    np.testing.assert_allclose(cautious * odds[1], fitted * odds[0], rtol=1e-3, atol=1e-5)


def _sha256(model):
    return load_model(model / "model.safetensors")[1].sha256


def test_images_of_a_group_are_one_image_as_evidence(world, tmp_path):
    split, taught = world[0], save(tmp_path / "taught", train(new_network(1), world[0], 4))

    def evidence(groups):
        params = replace(small_params(), split=replace(small_params().split, groups=groups))
        out = calibrate(split, taught, params=params, out=tmp_path / str(groups is None))
        report = (out / "report.md").read_text()
        return json.loads((out / "calibration.json").read_text()), report

    (apart, _), (together, report) = evidence(None), evidence("holdout-([0-9]{2})")  # frames of ten
    assert [sum(rule["samples"] for rule in told["classes"]) for told in (apart, together)] == [30, 3]
    assert together["temperature"] == apart["temperature"]
    assert together["cautious_temperature"] > apart["cautious_temperature"]
    assert "from 3 hold-out images" in report
