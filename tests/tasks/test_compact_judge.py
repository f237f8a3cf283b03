import json
from dataclasses import replace

import numpy as np
import pytest
from small_work import SPEC, contents, failed, make_split, new_network, plant_answers, save, small_params

from tasks import latency
from tasks.answers import read_answers, write_answers
from tasks.compact_judge import compact_judge
from tasks.export import export
from tutelage.models.files import load_model
from tutelage.types import BadInput

THREE_TIMES = [(1.0, 3.0), (1.0, 3.0)]
WORST = [1, 4, 7, 10, 13]  # five of the thirty images of class 1


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A wide teacher, a narrow student and one that is hardly narrower, with their exports."""
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder)
    found = {"split": split, "folder": folder}
    for name, width in (("teacher", 24), ("student", 4), ("wide", 20)):
        found[name] = save(folder / name, new_network(width, replace(SPEC, width=width)))
        export(split, found[name], params=small_params(), out=folder / "exported" / name)
    return found


@pytest.fixture
def judged(world, tmp_path, monkeypatch):
    """A verdict where the networks are wrong on the given test images; `times`: seconds of student and teacher, for
    each size of batch.
    """

    def judge(student=(), teacher=(), baseline=range(40), times=THREE_TIMES, model="student", steps=(3, 3), **settings):
        monkeypatch.setattr(latency, "per_call", lambda _, left=list(times): left.pop(0))
        answers = {"student": (student, model), "teacher": (teacher, "teacher"), "baseline": (baseline, "student")}
        for name, (wrong, of) in answers.items():
            plant_answers(tmp_path / "evaluation" / name, world["split"], world[of], np.array(wrong))
        exported = tmp_path / "exported"
        exported.mkdir(exist_ok=True)
        for name, of in (("student", model), ("teacher", "teacher")):
            (exported / name).unlink(missing_ok=True)
            (exported / name).symlink_to(world["folder"] / "exported" / of)
        params = small_params()
        pairs = zip(("student", "baseline"), steps, strict=True)
        runs = {name: replace(getattr(params.compress, name), steps=number) for name, number in pairs}
        rules = replace(params.compress, judge=replace(params.compress.judge, **settings), **runs)
        params = replace(params, compress=rules)
        out = tmp_path / "judge"
        places = world["split"], world["teacher"], world[model], tmp_path / "evaluation", exported
        compact_judge(*places, params=params, out=out)
        return json.loads((out / "verdict.json").read_text()), out

    return judge


def test_a_small_fast_student_that_loses_nothing_takes_over(judged, world):
    verdict, out = judged(student=range(10), teacher=range(12))
    assert (verdict["promote"], verdict["winner"], failed(verdict)) == (True, "student", [])
    assert (out / "model.safetensors").read_bytes() == (world["student"] / "model.safetensors").read_bytes()
    assert (out / "model.onnx").read_bytes() == (world["folder"] / "exported/student/model.onnx").read_bytes()
    assert verdict["reasons"][0].startswith("The student takes its teacher's place")
    assert "33.33 % more accurate" in verdict["reasons"][1]  # 30 of 90 images more than the baseline
    assert (out / "report.md").read_text().startswith("# Compression: the student takes over")
    for name in ("student", "teacher"):
        assert verdict["digests"][name] == load_model(world[name] / "model.safetensors")[1].sha256
    assert 0 < verdict["gain"]["low"] < verdict["gain"]["accuracy"] < verdict["gain"]["high"]


def test_words_fit_where_nothing_is_lost_or_the_baseline_is_better(judged):
    verdict, out = judged(student=range(12), teacher=range(12), baseline=range(3))
    assert "the student is 10.00 % less accurate" in verdict["reasons"][-1]
    assert "- No class loses recall." in (out / "report.md").read_text()
    worse = judged(student=[*WORST, 0], teacher=())[1]  # one of class 0 beside them
    assert r"The class that loses most recall is green\|grass: 16.7 points." in (worse / "report.md").read_text()


def test_unequal_steps_are_those_of_who_had_them(judged):
    told = judged(steps=(3, 9))[0]["reasons"][-1]
    assert told.startswith("Unequal training: compress.baseline.steps is 9, compress.student.steps 3, so ")


def test_a_student_that_was_found_is_not_said_to_be_the_baselines_network(judged, world):
    assert "The same network from labels alone" in judged()[0]["reasons"][1]
    plain, found = (load_model(world[name] / "model.safetensors")[1].parameters for name in ("student", "wide"))
    said = judged(model="wide", smaller=1.0)[0]["reasons"]
    assert f"Another network ({plain:,} parameters, the student has {found:,}) from labels alone: " in said[1]


def test_a_student_that_loses_accuracy_leaves_the_teacher_and_says_why(judged, world):
    verdict, out = judged(student=range(20), teacher=range(5))
    assert (verdict["promote"], verdict["winner"], failed(verdict)) == (False, "teacher", ["accuracy"])
    assert verdict["reasons"][0] == "The teacher stays."
    assert verdict["reasons"][1].startswith("accuracy: the difference of accuracy lies in -")
    assert (out / "model.safetensors").read_bytes() == (world["teacher"] / "model.safetensors").read_bytes()
    exported = world["folder"] / "exported/teacher/model.onnx"
    assert (out / "model.onnx").read_bytes() == exported.read_bytes()


def test_the_margin_is_what_the_interval_may_lack(judged):
    """One image of 90 lost: 1.1 points, in an interval that reaches down to 3.3."""
    assert failed(judged(student=range(6), teacher=range(5), margin=0.02)[0]) == ["accuracy"]
    assert failed(judged(student=range(6), teacher=range(5), margin=0.1)[0]) == []


def test_a_student_that_is_hardly_smaller_fails_on_size(judged):
    verdict, _ = judged(model="wide")
    assert failed(verdict) == ["size"]
    size = next(check for check in verdict["checks"] if check["name"] == "size")
    assert 1 < size["champion"] / size["candidate"] < 3
    assert failed(judged(model="wide", smaller=1.1)[0]) == []


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        (THREE_TIMES, True),
        ([(1.0, 1.5), (1.0, 1.5)], False),
        ([(1.0, 1.5), (1.0, 9.0)], False),  # one image alone is too slow
        ([(1.0, 9.0), (1.0, 1.5)], False),
        ([(3.0, 1.0), (3.0, 1.0)], False),
    ],
)
def test_the_clock_decides_on_speed(judged, times, kept):
    assert (failed(judged(times=times)[0]) == []) is kept


def test_near_the_limit_the_counted_operations_decide(judged):
    assert failed(judged(times=[(1.0, 1.9)] * 2)[0]) == []  # 4 channels against 24: far fewer operations
    assert failed(judged(model="wide", smaller=1.0, times=[(1.0, 2.1)] * 2)[0]) == ["speed"]  # 20 against 24: not half


def test_who_may_have_decided_on_speed_is_told(judged):
    """Neither sentence hangs on the clock, so equal inputs give equal bytes."""
    doubt = "2 times faster, give or take 15 %, where counted operations decide"
    assert f"it is at least {doubt}" in judged(times=[(1.0, 1.75)] * 2)[0]["reasons"][0]
    assert f"it is at least {doubt}" in judged()[0]["reasons"][0]
    slow = judged(model="wide", smaller=1.0, times=[(1.0, 1.1)] * 2)[0]["reasons"]
    assert f"speed: it is less than {doubt}" in slow
    assert judged(times=[(1.0, 1.1)] * 2)[0]["reasons"][1] == "speed: it is less than 2 times faster"  # the clock alone


def test_equal_inputs_give_equal_bytes_whatever_the_clock_said(judged):
    first = contents(judged()[1])
    assert contents(judged(times=[(1.0, 7.0)] * 2)[1]) == first


def test_an_export_of_another_model_is_refused(judged, world, tmp_path):
    judged()
    exported = tmp_path / "exported/student"
    exported.unlink()
    exported.symlink_to(world["folder"] / "exported/wide")
    places = world["split"], world["teacher"], world["student"], tmp_path / "evaluation", tmp_path / "exported"
    with pytest.raises(BadInput, match="exports another model than the student"):
        compact_judge(*places, params=small_params(), out=tmp_path / "judge")


def test_a_baseline_tested_on_other_images_is_refused(judged, world, tmp_path):
    judged()
    place = tmp_path / "evaluation/baseline"
    said = read_answers(place)
    write_answers(place, replace(said, ids=said.ids[::-1]))
    places = world["split"], world["teacher"], world["student"], tmp_path / "evaluation", tmp_path / "exported"
    with pytest.raises(BadInput, match="the baseline was tested on other images"):
        compact_judge(*places, params=small_params(), out=tmp_path / "judge")
