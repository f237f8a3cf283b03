"""From a detector to a narrower one, and whether it may take over."""

import dataclasses
import shutil
from functools import cache
from types import SimpleNamespace

import pytest
from box_work import labelled, prepare
from scenes_found import nothing_found

import tasks.box_compact_judge as judging
from tasks import latency
from tasks.box_answers import marked
from tasks.box_compact import box_compact
from tasks.box_compact_judge import box_compact_judge
from tasks.box_evaluate import box_evaluate, write_test
from tasks.io import read_json
from tasks.training import learned_from
from tutelage.data.boxes import Found
from tutelage.data.manifest import classes_of, read_split
from tutelage.methods.detection.kd import KD
from tutelage.models.files import load_detector
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A teacher, a narrower student and its baseline, of a few steps each."""
    root = tmp_path_factory.mktemp("compact")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params, folder = prepare(root)
        few = {
            name: dataclasses.replace(getattr(params.detection.compress, name), steps=3, labelled_batch=2)
            for name in ("student", "baseline")
        }
        params = with_rules(params, network={"width": 4}, **few)
        labels = labelled(params, folder, folder / "rounds/1/labels")
        for name in few:
            box_compact(folder / "split", folder / "teacher", labels, params=params, out=folder / "compact" / name)
        return params, folder, labels


def with_rules(params, **changes):
    compress = dataclasses.replace(params.detection.compress, **changes)
    return dataclasses.replace(params, detection=dataclasses.replace(params.detection, compress=compress))


def models(folder):
    return {"teacher": folder / "teacher", **{name: folder / "compact" / name for name in ("student", "baseline")}}


@pytest.fixture(scope="module")
def tested(work, tmp_path_factory):
    """The test of a model that finds the given share of the test images' objects, written once."""
    params, folder, _ = work
    table, root = read_split(folder / "split"), tmp_path_factory.mktemp("tested")
    test = marked(folder / "split", table, "test")

    @cache
    def written(name, share):
        card = load_detector(models(folder)[name] / "model.safetensors")[1]
        found = [seen(one, place < share * len(test.given)) for place, one in enumerate(test.given)]
        about = {"parameters": card.parameters, "model": card.sha256}
        out = root / f"{name}-{share}"
        write_test(name, (test, found), classes_of(table), params=params, about=about, out=out)
        return out

    return written


@pytest.fixture
def judged(work, tested, tmp_path, monkeypatch):
    """A verdict where teacher and student find the given share of the test images' objects, `ratio` the time."""
    params, folder, _ = work

    def judge(teacher=1.0, student=1.0, ratio=0.5, **rules):
        monkeypatch.setattr(latency, "measure", lambda *_: ratio)
        for name, share in (("teacher", teacher), ("student", student), ("baseline", 0.0)):
            shutil.copytree(tested(name, share), tmp_path / "evaluation" / name, dirs_exist_ok=True)
        out = box_compact_judge(
            folder / "split", folder / "teacher", folder / "compact/student", tmp_path / "evaluation",
            params=with_rules(params, **{"smaller": 1.5, **rules}), out=tmp_path / "judge",
        )  # fmt: skip
        verdict = read_json(out / "verdict.json")
        assert load_detector(out / "model.safetensors")[1].sha256 == verdict["digests"][verdict["winner"]]
        assert learned_from(out) == learned_from(models(folder)[verdict["winner"]]) != []
        return verdict, [check["name"] for check in verdict["checks"] if not check["passed"]]

    return judge


def seen(given, finds):
    """What is there, with a score of 1, or nothing."""
    if not finds:
        return nothing_found()
    return Found(given.places, given.labels, given.places[:, 0] * 0 + 1)


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        ({"cat": 0.5, "dog": 0.4}, {"cat": 0.4, "dog": 0.4}, "No class loses AP50."),
        ({"cat": None, "dog": 0.4}, {"cat": None, "dog": None}, "No class loses AP50."),
        ({"cat": 0.5, "dog": 0.3}, {"cat": 0.4, "dog": 0.4}, "The class that loses most AP50 is dog: 10.0 points."),
    ],
)
def test_the_class_that_loses_most_is_named_where_one_loses(monkeypatch, now, before, said):
    def averaged(each):
        return SimpleNamespace(per_class={name: SimpleNamespace(ap50=value) for name, value in each.items()})

    monkeypatch.setattr(judging, "averages", averaged)
    assert judging._worst_class(SimpleNamespace(matched=now), SimpleNamespace(matched=before)) == said


def test_the_student_is_narrower_and_taught_by_kd(work):
    _, folder, _ = work
    cards = {name: load_detector(path / "model.safetensors")[1] for name, path in models(folder).items()}
    assert {name: card.spec.width for name, card in cards.items()} == {"teacher": 8, "student": 4, "baseline": 4}
    assert cards["student"].method == str(KD())
    assert cards["baseline"].method.startswith("Supervised(")
    assert cards["student"].sha256 != cards["baseline"].sha256


def test_a_smaller_student_that_loses_nothing_takes_over(judged):
    verdict, failed = judged()
    assert (verdict["winner"], failed) == ("student", [])
    assert verdict["reasons"][0].startswith(
        "The student takes its teacher's place: the difference of AP lies in 0.00 to"
    )


def test_ap_may_be_lost_up_to_the_margin(judged):
    verdict, failed = judged(student=0.5)
    assert (verdict["winner"], failed) == ("teacher", ["AP"])
    assert verdict["reasons"][1].startswith("AP: the difference of AP lies in -")
    assert judged(student=0.5, max_loss=1.0)[1] == []


def test_size_and_time_have_limits(judged):
    assert judged(smaller=100.0)[1] == ["size"]
    assert judged(ratio=3.0)[1] == ["speed"]
    assert judged(ratio=0.5, faster=4.0)[1] == ["speed"]
    assert judged(ratio=3.0)[0]["winner"] == "teacher"


def test_the_clock_leaves_no_trace(judged):
    assert judged(ratio=0.5)[0] == judged(ratio=0.4)[0]


def test_a_baseline_that_was_trained_for_another_time_is_told(judged, work):
    assert not any("Unequal" in line for line in judged()[0]["reasons"])
    longer = dataclasses.replace(work[0].detection.compress.baseline, steps=9)
    told = judged(baseline=longer)[0]["reasons"][-1]
    assert told.startswith(
        "Unequal training: detection.compress.baseline.steps is 9, detection.compress.student.steps 3,"
    )


def test_what_other_stages_wrote_is_read_and_what_does_not_fit_is_refused(work, tmp_path):
    params, folder, labels = work
    for name, model in models(folder).items():
        box_evaluate(folder / "split", model, params=params, out=tmp_path / "evaluation" / name)
    places = folder / "split", folder / "teacher", folder / "compact/student", tmp_path / "evaluation"
    box_compact_judge(*places, params=params, out=tmp_path / "judge")
    box_evaluate(folder / "split", folder / "teacher", params=params, out=tmp_path / "evaluation/student")
    with pytest.raises(BadInput, match="tested another detector"):
        box_compact_judge(*places, params=params, out=tmp_path / "judge")
    with pytest.raises(BadInput, match="names no compact detector"):
        box_compact(folder / "split", folder / "teacher", labels, params=params, out=folder / "compact/small")
