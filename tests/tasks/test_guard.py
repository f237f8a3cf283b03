import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_work import contents, make_split, new_network, plant_labels, save, small_params, train

from tasks.guard import decide, guard
from tasks.io import write_json
from tasks.params import Guard
from tasks.signals import Sight, class_divergence, finite, measure, named_of
from tutelage.data.manifest import SPLIT, classes_of, describe, read_split, roots_of

LIMITS = Guard()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder)
    return {
        "folder": folder,
        "split": split,
        "teacher": save(folder / "teacher", train(new_network(0), split, 15)),
        "student": save(folder / "student", train(new_network(1), split, 25)),
        "bad": save(folder / "bad", new_network(2)),
        "labels": plant_labels(folder / "labels", split),
    }


def run(world, out, *, teacher="teacher", student="student", labels="labels", split="split", **limits):
    params = small_params()
    params = replace(params, guard=replace(LIMITS, **limits))
    paths = (world[name] if isinstance(name, str) else name for name in (split, teacher, labels, student))
    guard(*paths, params=params, out=out)
    return json.loads((out / "guard.json").read_text())


def model(folder):
    return (folder / "model.safetensors").read_bytes()


def test_a_sound_round_goes_on_with_its_student(world, tmp_path):
    found = run(world, tmp_path / "guard")
    assert (found["verdict"], found["accepted"], found["unsupervised_weight"]) == ("continue", True, 1.0)
    assert found["reasons"] == []
    assert found["round"] == 1
    assert model(tmp_path / "guard") == model(world["student"])
    report = (tmp_path / "guard" / "report.md").read_text()
    assert "The next round starts from the student; its unsupervised weight is 1." in report
    assert set(found["signals"]) == {"empty", "class_divergence", "flips", "not_finite", "drop", "classes_named"}
    assert found["signals"]["empty"] == {
        "value": 0.5, "limit": 0.98, "breached": False, "detail": "50.0 % of the pool got no label (limit 98.0 %)",
    }  # fmt: skip


def test_what_its_model_has_learned_from_goes_with_it(world, tmp_path):
    folders = {name: Path(shutil.copytree(world[name], tmp_path / name)) for name in ("teacher", "student", "bad")}
    for name, folder in folders.items():
        write_json(folder / "learned_from.json", [name])
    for student, kept in (("student", "student"), ("bad", "teacher")):
        run(world, tmp_path / "guard", teacher=folders["teacher"], student=folders[student])
        assert json.loads((tmp_path / "guard" / "learned_from.json").read_text()) == [kept]


def test_a_student_that_lost_what_its_teacher_knew_is_refused(world, tmp_path):
    found = run(world, tmp_path / "guard", student="bad")
    assert (found["verdict"], found["accepted"], found["unsupervised_weight"]) == ("weaken", False, 0.5)
    assert model(tmp_path / "guard") == model(world["teacher"])
    assert found["signals"]["drop"]["breached"]
    assert any("hold-out images the teacher is right on" in reason for reason in found["reasons"])
    report = (tmp_path / "guard" / "report.md").read_text()
    assert found["reasons"][0] in report
    assert "The next round starts from the model that the round started from; its unsupervised weight is 0.5." in report
    assert f"| drop | {found['signals']['drop']['value']:.4g} | {LIMITS.max_drop:g} | breached |" in report
    assert "| empty | 0.5 | 0.98 | ok |" in report
    for strip in ("Surest", "At the threshold", "Rejected", "Student disagrees"):
        assert f"**{strip}**" in report
    assert report.count("data:image/png;base64,") == 4
    assert "http" not in report
    assert len(report) < 60_000


def test_a_second_breach_stops_the_rounds_and_keeps_the_last_good_model(world, tmp_path):
    run(world, tmp_path / "first", student="bad")
    found = run(world, tmp_path / "second", teacher=tmp_path / "first", student="bad")
    assert (found["verdict"], found["accepted"]) == ("stop", False)
    assert model(tmp_path / "second") == model(world["teacher"])


def test_a_stop_is_passed_on_with_its_first_reason(world, tmp_path):
    run(world, tmp_path / "one", student="bad")
    first = run(world, tmp_path / "two", teacher=tmp_path / "one", student="bad")
    passed = save(tmp_path / "passed", new_network(0))
    (passed / "model.safetensors").write_bytes(model(tmp_path / "two"))
    write_json(passed / "passed.json", {"reason": "the guard stopped the rounds: ..."})
    for number in (3, 4):
        teacher = tmp_path / ("two" if number == 3 else "guard3")
        found = run(world, tmp_path / f"guard{number}", teacher=teacher, student=passed)
        assert (found["verdict"], found["accepted"]) == ("stop", False)
        assert found["reasons"] == first["reasons"]
        assert found["unsupervised_weight"] == first["unsupervised_weight"]
        assert model(tmp_path / f"guard{number}") == model(world["teacher"])


def test_after_a_weaker_round_without_breach_the_lower_weight_stays(world, tmp_path):
    run(world, tmp_path / "first", student="bad")
    found = run(world, tmp_path / "second", teacher=tmp_path / "first")
    assert (found["verdict"], found["accepted"], found["unsupervised_weight"]) == ("continue", True, 0.5)


def test_an_empty_pool_passes_everything_through(tmp_path):
    split = make_split(tmp_path, {"labelled": 6, "holdout": 3, "test": 3})
    labels = plant_labels(tmp_path / "labels", split)
    teacher = save(tmp_path / "teacher", new_network(0))
    student = save(tmp_path / "student", new_network(0))
    write_json(student / "passed.json", {"reason": "the pool is empty"})
    found = run({}, tmp_path / "guard", split=split, teacher=teacher, labels=labels, student=student)
    assert (found["verdict"], found["reasons"], found["signals"]) == ("stop", ["the pool is empty"], {})
    assert model(tmp_path / "guard") == model(teacher)
    assert pq.read_table(tmp_path / "guard" / "answers.parquet").num_rows == 0


def test_weights_that_are_not_finite_never_teach(world, tmp_path):
    broken = train(new_network(1), world["split"], 5)
    next(broken.parameters()).data[0] = math.nan
    found = run(world, tmp_path / "guard", student=save(tmp_path / "broken", broken))
    assert not found["accepted"]
    assert found["signals"]["not_finite"]["breached"]
    assert found["signals"]["drop"]["value"] is None
    assert model(tmp_path / "guard") == model(world["teacher"])


def test_answers_that_are_not_finite_are_seen_where_all_weights_are(world, tmp_path):
    huge = new_network(1)
    huge.net.get_classifier().weight.data.fill_(3e38)
    huge.net.get_classifier().bias.data.fill_(3e38)
    found = run(world, tmp_path / "guard", student=save(tmp_path / "huge", huge))
    assert found["signals"]["not_finite"]["breached"]


def test_one_of_a_kind_is_told_as_one():
    assert finite(1).detail == "1 of the student's numbers is not finite"
    assert named_of(1, 1, 1).detail == "the student names 1 of 1 class on 1 image (fewer than half: collapsed)"
    assert named_of(1, 2, 3).detail == "the student names 1 of 2 classes on 3 images (fewer than half: collapsed)"
    assert "people gave no labels" in class_divergence(np.zeros(1, np.int64), np.zeros(2), 0.1).detail


def test_a_student_that_names_one_class_has_collapsed(world, tmp_path):
    flat = train(new_network(1), world["split"], 5)
    flat.net.get_classifier().bias.data[1] = 1e4
    found = run(world, tmp_path / "guard", student=save(tmp_path / "flat", flat), max_drop=1.0)
    assert [name for name, signal in found["signals"].items() if signal["breached"]] == ["classes_named"]
    assert not found["accepted"]
    assert "names 1 of 3 classes" in found["reasons"][0]


def test_labels_of_the_test_split_change_nothing(world, tmp_path):
    """Mutation: labels and images of the test role are shuffled, the guard's bytes stay."""
    table = read_split(world["split"])
    rows = table.to_pylist()
    mine = [row for row in rows if row["role"] == "test"]
    for row, label in zip(mine, np.random.default_rng(0).permutation([r["label"] for r in mine]), strict=True):
        row["label"] = int(label)
        row["path"] = "missing.png"
    shuffled = describe(pa.Table.from_pylist(rows, SPLIT), roots=roots_of(table), classes=classes_of(table))
    (tmp_path / "split").mkdir()
    pq.write_table(shuffled, tmp_path / "split" / "split.parquet")
    assert read_split(tmp_path / "split")["label"] != table["label"]
    for student in ("student", "bad"):
        run(world, tmp_path / "a", student=student)
        run(world, tmp_path / "b", student=student, split=tmp_path / "split")
        assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_holdout_labels_do_change_it(world, tmp_path):
    """The counterpart: the test above can fail."""
    table = read_split(world["split"])
    rows = table.to_pylist()
    for row in rows:
        row["label"] = (row["label"] + 1) % 3 if row["role"] == "holdout" else row["label"]
    (tmp_path / "split").mkdir()
    changed = describe(pa.Table.from_pylist(rows, SPLIT), roots=roots_of(table), classes=classes_of(table))
    pq.write_table(changed, tmp_path / "split" / "split.parquet")
    assert run(world, tmp_path / "a") != run(world, tmp_path / "b", split=tmp_path / "split")


def test_flips_are_counted_against_the_previous_guard(world, tmp_path):
    run(world, tmp_path / "first")
    moved = plant_labels(tmp_path / "labels", world["split"], wrong=45, number=2)
    found = run(world, tmp_path / "second", teacher=tmp_path / "first", labels=moved)
    assert found["signals"]["flips"]["value"] == pytest.approx(45 / 60)
    assert found["signals"]["flips"]["breached"]
    assert found["accepted"]  # the labels are to blame, not the student
    assert found["verdict"] == "weaken"


def test_the_student_is_asked_about_a_sample_of_the_pool(world, tmp_path):
    run(world, tmp_path / "guard")
    said = pq.read_table(tmp_path / "guard" / "opinions.parquet")
    assert said.num_rows == 60
    assert (said["label"].to_numpy() == np.arange(60) % 3).mean() > 0.8  # the images are easy


# measure() and decide() on numbers chosen by hand


def sight(lost=0, gained=0, both=100, named=(0, 1, 2)):
    """A hold-out on which the student lost and gained so many answers."""
    truth = np.zeros(lost + gained + both, np.int64)
    old, new = truth.copy(), truth.copy()
    new[:lost] = 1
    old[lost : lost + gained] = 1
    pool = np.array([0, 1, 2])
    return Sight(truth, old, new, ["a", "b", "c"], pool, np.array(named), broken=0)


def signals(world, *, label=(0, 1, 2, 0), kept=(1, 1, 1, 1), reason=None, previous=None, seen=None, limits=LIMITS):
    answers = pa.table(
        {
            "label": pa.array(label, pa.int32()),
            "weight": pa.array(kept, pa.float32()),
            "reason": reason or [""] * len(label),
        }
    )
    before = None if previous is None else np.array(previous)
    return measure(read_split(world["split"]), answers, before, seen or sight(), limits)


@pytest.mark.parametrize(
    ("lost", "gained", "both", "breached"),
    [
        (1, 0, 99, False),  # one image of a hundred is no evidence
        (3, 0, 97, False),  # 3 % is above the limit, but a coin does it once in eight
        (5, 0, 95, True),  # once in thirty-two
        (9, 4, 87, False),  # 5 % net: 0.13
        (12, 3, 85, True),
        (100, 60, 9840, False),  # 0.4 % of ten thousand: beyond chance, within the limit
        (400, 100, 9500, True),
        (0, 5, 95, False),
    ],
)
def test_a_drop_must_be_large_and_beyond_chance(world, lost, gained, both, breached):
    found = signals(world, seen=sight(lost, gained, both))["drop"]
    assert found.value == pytest.approx((lost - gained) / (lost + gained + both))
    assert found.breached is breached
    assert f"{lost} lost, {gained} gained" in found.detail


def test_a_group_of_the_hold_out_is_one_toss(world):
    """Five lost images are once in thirty-two; frames of one video would be once in two."""
    seen = sight(5, 0, 95)
    assert "groups" not in signals(world, seen=seen)["drop"].detail
    alone = signals(world, seen=replace(seen, units=np.arange(100)))["drop"]
    assert alone.breached
    found = signals(world, seen=replace(seen, units=np.maximum(np.arange(100) - 4, 0)))["drop"]
    assert not found.breached
    assert found.value == alone.value
    assert "5 lost, 0 gained, by groups 1 lost, 0 gained (a breach" in found.detail
    assert found.detail.endswith("it is 0.500)")


def test_the_groups_of_the_split_are_those_of_the_guard(world, tmp_path):
    """All of the hold-out as one group, by a pattern that finds the same in every path: one toss is no evidence."""
    params = small_params()
    paths = (world[name] for name in ("split", "teacher", "labels", "bad"))
    guard(*paths, params=replace(params, split=replace(params.split, groups="()")), out=tmp_path / "guard")
    found = json.loads((tmp_path / "guard" / "guard.json").read_text())["signals"]["drop"]
    assert found["value"] > found["limit"]
    assert not found["breached"]
    assert "by groups 1 lost, 0 gained" in found["detail"]


def test_share_without_label(world):
    assert not signals(world, label=[0] * 100, kept=[1] * 2 + [0] * 98)["empty"].breached  # 98 % is the limit
    assert signals(world, label=[0] * 100, kept=[1] + [0] * 99)["empty"].breached


def test_nothing_kept_breaches_empty_and_has_no_histogram(world):
    found = signals(world, kept=[0, 0, 0, 0])
    assert found["empty"].breached
    assert found["class_divergence"].value is None
    assert not found["class_divergence"].breached


def test_divergence_looks_at_kept_labels_only(world):
    balanced = signals(world, label=[0, 1, 2, 0, 0, 0], kept=[1, 1, 1, 0, 0, 0])["class_divergence"]
    assert balanced.value == pytest.approx(0, abs=1e-9)
    one_sided = signals(world, label=[0] * 6, kept=[1] * 6, limits=replace(LIMITS, max_class_divergence=0.2))
    assert one_sided["class_divergence"].value == pytest.approx(
        # m = (2/3, 1/6, 1/6): H(m) - H(1/3, 1/3, 1/3) / 2
        -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 6)) - math.log(3) / 2
    )
    assert one_sided["class_divergence"].breached


def test_first_round_has_no_flips(world):
    assert signals(world)["flips"].value is None
    assert signals(world, previous=[0, 1, 1, 1])["flips"].value == 0.5


def test_a_split_without_holdout_is_said_and_not_guessed(world):
    none = np.zeros(0, np.int64)
    seen = replace(sight(), truth=none, holdout_teacher=none, holdout_student=none)
    found = signals(world, seen=seen)
    assert found["drop"].value is None
    assert "no hold-out" in found["drop"].detail
    assert not found["classes_named"].breached


def test_decisions(world):
    fine, breach = signals(world), signals(world, kept=[0, 0, 0, 0])
    fault = signals(world, seen=sight(lost=50))
    assert decide(fine, 1.0, LIMITS).verdict == "continue"
    assert decide(fine, 0.5, LIMITS).unsupervised_weight == 0.5
    assert (decide(breach, 1.0, LIMITS).verdict, decide(breach, 1.0, LIMITS).accepted) == ("weaken", True)
    assert (decide(fault, 1.0, LIMITS).verdict, decide(fault, 1.0, LIMITS).accepted) == ("weaken", False)
    for found in (breach, fault):
        assert (decide(found, 0.5, LIMITS).verdict, decide(found, 0.5, LIMITS).accepted) == ("stop", False)
    assert decide(breach, 1.0, replace(LIMITS, weaken=0.25)).unsupervised_weight == 0.25


def test_networks_are_not_moved_into_training_mode(world, tmp_path):
    """Batch norm of a network in training would see the hold-out: two runs in a row must agree."""
    torch.manual_seed(3)
    first = run(world, tmp_path / "a")
    torch.manual_seed(4)
    assert run(world, tmp_path / "b") == first


def test_what_is_out_of_distribution_is_no_flip_and_no_image_without_label(world, tmp_path):
    run(world, tmp_path / "first")
    moved = plant_labels(tmp_path / "labels", world["split"], wrong=20, number=2, foreign=20, kept=0.5)
    found = run(world, tmp_path / "second", teacher=tmp_path / "first", labels=moved)
    assert found["signals"]["flips"]["value"] == 0
    assert found["signals"]["empty"]["value"] == pytest.approx(30 / 40)


def test_a_class_whose_quota_is_full_leaves_no_image_without_label(world):
    """The teacher is as sure of them as of what is kept: a small quota of a large pool is no breach."""
    found = signals(world, kept=(1, 0, 0, 0), reason=["", "beyond_quota", "beyond_quota", "below_threshold"])
    assert found["empty"].value == 0.25
    assert found["empty"].detail == "25.0 % of the pool got no label, quotas aside (limit 98.0 %)"
