"""Who wins where a detector is in production, and what the report says of it."""

import dataclasses
import re
import shutil

import pytest
from box_work import labelled, named, prepare

from tasks import box_fuse as fuses
from tasks import box_judge as judges
from tasks import latency
from tasks.box_answers import find, read_found, write_found
from tasks.box_evaluate import box_evaluate
from tasks.box_fuse import box_fuse
from tasks.box_guard import box_guard
from tasks.box_judge import box_judge, judged_by, rival
from tasks.box_report import box_report
from tasks.checks import Check
from tasks.detector import detector
from tasks.io import read_json, write_json
from tasks.training import learned_from
from tutelage.models.detectors import create_detector
from tutelage.models.files import load_detector, save_detector
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A teacher that is the candidate, a baseline, and what both find in the test."""
    root = tmp_path_factory.mktemp("tested")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(root)
        params, folder = prepare(root)
        detector(folder / "split", params=params, out=folder / "baseline")
        for name, model in (("candidate", "teacher"), ("baseline", "baseline")):
            box_evaluate(folder / "split", folder / model, params=params, out=folder / "evaluation" / name)
    return params, folder


@pytest.fixture
def rivals(tested, tmp_path, monkeypatch):
    """A copy of them, in the current folder."""
    params, folder = tested
    monkeypatch.chdir(tmp_path)
    return params, shutil.copytree(folder, tmp_path / "work/detection")


def judged(params, folder, in_production=None, candidate="teacher"):
    """The verdict, and the sha256 of the detector that it keeps."""
    champion = folder / "champion"
    champion.mkdir()
    if in_production is not None:
        shutil.copy(folder / in_production / "model.safetensors", champion)
    split, evaluation = folder / "split", folder / "evaluation"
    out = box_judge(
        split, folder / candidate, folder / "baseline", evaluation, champion, params=params, out=folder / "judge"
    )
    return read_json(out / "verdict.json"), load_detector(out / "model.safetensors")[1].sha256


def test_where_nothing_is_in_production_the_baseline_is_to_beat(rivals):
    verdict, kept = judged(*rivals)
    assert (verdict["champion"], verdict["winner"]) == ("baseline", "baseline")
    assert [check["name"].partition(",")[0] for check in verdict["checks"]][:2] == ["gain on the baseline", "AP50"]
    assert verdict["reasons"][-1] == "So the supervised baseline is kept."
    assert kept == verdict["digests"]["champion"] == verdict["digests"]["baseline"]
    folder = rivals[1]
    assert learned_from(folder / "judge") == learned_from(folder / "baseline") == ["labelled", "holdout"]


def test_a_candidate_that_passes_every_check_takes_the_place_and_is_timed_against_what_it_replaces(rivals, monkeypatch):
    params, folder = rivals
    card, timed = load_detector(folder / "teacher/model.safetensors")[1], []
    monkeypatch.setattr(judges, "check", lambda *_, **__: [Check("gain on the baseline", 1.0, 0.0, "", True, "")])
    monkeypatch.setattr(latency, "measure", lambda *said: timed.append(said) or 1.0)
    (folder / "wide").mkdir()
    wide = create_detector(dataclasses.replace(card.spec, width=12), len(card.classes), download=False)
    save_detector(folder / "wide/model.safetensors", wide, classes=card.classes, method="supervised")
    box_evaluate(folder / "split", folder / "wide", params=params, out=folder / "evaluation/candidate")
    verdict, kept = judged(params, folder, candidate="wide")
    assert (verdict["promote"], verdict["winner"]) == (True, "candidate")
    mine, theirs = (load_detector(folder / name / "model.safetensors")[1].sha256 for name in ("wide", "baseline"))
    assert kept == mine
    assert {name: verdict["digests"][name] for name in ("candidate", "baseline", "champion")} == {
        "candidate": mine, "baseline": theirs, "champion": theirs,
    }  # fmt: skip
    [((new, _), (old, _), _, names)] = timed
    assert (new.spec.width, old.spec.width, names) == (12, 8, ("candidate", "baseline"))


def test_the_rules_and_how_many_boxes_count_are_those_of_the_params(rivals):
    params, folder = rivals
    rules = dataclasses.replace(params.detection.judge, margin=0.01, class_margin=0.2)
    params = dataclasses.replace(params, detection=dataclasses.replace(params.detection, judge=rules))
    test, found = judged_by(folder / "split", params)
    assert (found.margin, found.class_margin) == (0.01, 0.2)
    mine, _, _ = rival("baseline", folder / "baseline", folder / "evaluation/baseline", test, params)
    assert mine.matched.run.params.maxDets == [params.detection.evaluate.max_detections] == [10]


def test_what_was_found_in_other_images_is_not_judged(rivals):
    params, folder = rivals
    place = folder / "evaluation/candidate"
    ids, found = read_found(place)
    write_found(place, ids[::-1], found)
    with pytest.raises(BadInput, match="the candidate was tested on other images"):
        judged(params, folder)


def test_images_of_a_group_are_drawn_together(rivals):
    params, folder = rivals
    wanted = params.detection
    one = dataclasses.replace(wanted, split=dataclasses.replace(wanted.split, groups="()"))
    verdict, _ = judged(dataclasses.replace(params, detection=one), folder)
    assert verdict["gain"]["low"] == verdict["gain"]["high"] == pytest.approx(verdict["gain"]["ap"])


def by_slices(params, pattern):
    rules = dataclasses.replace(params.detection.judge, slices=pattern)
    return dataclasses.replace(params, detection=dataclasses.replace(params.detection, judge=rules))


def test_slices_of_scenes_are_told(rivals):
    params, folder = rivals
    [one] = judged(by_slices(params, ".png"), folder)[0]["slices"]
    assert (one["name"], one["images"], one["units"]) == (".png", 4, 4)
    assert "| .png | 4 |" in (folder / "judge/report.md").read_text()


def test_a_pattern_of_slices_that_finds_no_scene_is_told(rivals):
    params, folder = rivals
    with pytest.raises(BadInput, match=r"detection.judge.slices \(site-\) finds nothing"):
        judged(by_slices(params, "site-"), folder)


def test_what_is_in_production_is_to_beat_and_stays(rivals):
    params, folder = rivals
    (folder / "old").mkdir()
    net, card = load_detector(folder / "baseline/model.safetensors")
    save_detector(folder / "old/model.safetensors", net, classes=card.classes, method="of last night")
    verdict, kept = judged(params, folder, "old")
    assert (verdict["champion"], verdict["winner"]) == ("production", "champion")
    assert [check["name"] for check in verdict["checks"]][:2] == ["gain on the baseline", "AP"]
    assert verdict["reasons"][-1] == "So the detector in production is kept."
    assert kept == verdict["digests"]["champion"] != verdict["digests"]["baseline"]


def test_a_candidate_that_is_in_production_already_is_not_promoted(rivals):
    verdict, _ = judged(*rivals, "teacher")
    assert verdict["reasons"] == ["Not promoted: the candidate is the detector in production, byte for byte."]
    assert (verdict["promote"], verdict["winner"]) == (False, "champion")


def test_a_detector_of_other_classes_cannot_be_compared(rivals):
    params, folder = rivals
    (folder / "old").mkdir()
    net, _ = load_detector(folder / "baseline/model.safetensors")
    save_detector(folder / "old/model.safetensors", net, classes=["horse", "cart"], method="supervised")
    with pytest.raises(
        BadInput,
        match=r"of the classes \['horse', 'cart'\].*empty .*champion and .*production, which `retrain_detector`",
    ):
        judged(params, folder, "old")
    assert not (folder / "judge").exists()


def test_detectors_that_are_fused_look_at_an_image_as_their_calibrations_did(rivals, monkeypatch):
    params, folder = rivals
    wanted = params.detection
    more = dataclasses.replace(
        wanted, label=dataclasses.replace(wanted.label, orientations=True),
        fuse=dataclasses.replace(wanted.fuse, weights=(0.9, 1.0)),
    )  # fmt: skip
    params, asked = dataclasses.replace(params, detection=more), []
    labelled(params, folder, folder / "rounds/1/labels")
    shutil.copytree(folder / "teacher", folder / "rounds/1/guard")
    monkeypatch.setattr(fuses, "find", lambda *some, ways=(), **more: asked.append(len(ways)) or find(*some, **more))
    box_fuse(folder / "split", folder / "teacher", folder / "rounds", params=params, out=folder / "fused")
    assert asked == [2, 2] == 2 * [read_json(folder / "rounds/1/calibration/calibration.json")["looks"]]


def test_the_log_of_a_test_has_the_time_of_an_image_beside_cocos_numbers_and_no_file_has(rivals, capsys):
    params, folder = rivals
    made = []
    for name in ("one", "two"):
        out = box_evaluate(folder / "split", folder / "teacher", params=params, out=folder / name)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    said = r"AP [\d.]+, AP50 [\d.]+, AR [\d.]+; reading and finding take [\d.]+ ms an image \([\d,]+ images/s\)"
    assert len(re.findall(f"/detection/teacher on 4 images: {said}$", capsys.readouterr().out, re.MULTILINE)) == 2


def test_the_report_knows_production_and_that_no_oracle_was_asked(rivals):
    params, folder = rivals
    params = dataclasses.replace(params, detection=dataclasses.replace(params.detection, oracle=None))
    labels = named(params, folder, labelled(params, folder, folder / "rounds/1/labels"))
    shutil.copytree(folder / "teacher", folder / "rounds/1/student")
    split, teacher, student = folder / "split", folder / "teacher", folder / "rounds/1/student"
    box_guard(split, teacher, labels, student, params=params, out=folder / "rounds/1/guard")
    oracle = detector(split, params=params, out=folder / "oracle")
    assert [path.name for path in oracle.iterdir()] == ["unavailable.json"]
    box_evaluate(split, oracle, params=params, out=folder / "evaluation/oracle")
    box_fuse(split, teacher, folder / "rounds", params=params, out=folder / "evaluation/fused")
    judged(params, folder, "baseline", "rounds/1/guard")
    tested = folder / "evaluation/candidate/metrics.json"
    write_json(tested, read_json(tested) | {"ar": {"1": 0.1, "9": 0.2, "10": 0.321}})
    report = box_report(folder, params=params, out=folder / "report")
    assert read_json(report / "summary.json").keys() == {"baseline", "candidate", "gain"}
    html = (report / "report.html").read_text()
    assert "· AR 32.1 ·" in html
    assert "| 32.1 |" in (report / "summary.md").read_text()
    assert "detection.oracle is null: no ceiling is known" in html
    assert "<h1>The detector in production is kept</h1>" in html
    assert "lose no class, time or size to\nthe detector in production" in html
