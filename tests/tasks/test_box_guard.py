"""The guard of detection: what it sees, and what it does about it, on values that are counted by hand."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
from box_work import prepare
from project import run
from scenes_found import nothing_found, nothing_given

import tasks.box_student as students
from tasks.box_answers import kept_boxes, marked, read_found, read_store
from tasks.box_guard import ANSWERS, OPINIONS
from tasks.box_params import BoxRound
from tasks.box_signals import BoxSight, as_many, changed_share, look, measure
from tasks.io import read_json
from tutelage.data.boxes import Found
from tutelage.data.manifest import read_split
from tutelage.methods.detection import DETECTION_METHODS

A, B, C = (0, 2, 6, 6), (1, 2, 7, 7), (9, 9, 15, 15)  # the cat and the dog of every labelled image, and a place apart


def found(*places, labels=(0, 1), scores=None):
    k = len(places)
    scores = np.linspace(0.9, 0.5, k) if scores is None else scores
    return Found(
        np.array(places, np.float32).reshape(-1, 4), np.array(labels[:k], np.int64), np.array(scores, np.float32)
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return prepare(root)


def signals(world, kept, previous=None, *, student=None, learned=False, **limits):
    params, folder = world
    params = dataclasses.replace(
        params, detection=dataclasses.replace(params.detection, guard=dataclasses.replace(
            params.detection.guard, **limits))
    )  # fmt: skip
    table = read_split(folder / "split")
    truth = marked(folder / "split", table, "holdout").given
    right = [found(*one.places, labels=one.labels) for one in truth]
    sight = BoxSight(
        truth=truth, holdout_teacher=right, holdout_student=right if student is None else [student] * len(truth),
        sample=[0], pool_student=[found(A, B)], broken=0, learned=learned,
    )  # fmt: skip
    return measure(folder / "split", table, (kept, previous), sight, params)


def test_a_sound_round_is_within_every_limit(world):
    said = signals(world, [found(A, B)] * 7, [found(A, B)] * 7)
    assert not any(one.breached for one in said.values())
    values = {name: one.value for name, one in said.items()}
    assert values == {
        "empty": 0, "class_divergence": 0, "boxes": 1, "flips": 0, "not_finite": 0, "drop": 0, "classes_named": 1,
    }  # fmt: skip


def test_images_without_a_box_are_counted(world):
    kept = [found(A, B)] * 1 + [nothing_found()] * 6
    said = signals(world, kept, max_empty=0.8)
    assert said["empty"].value == pytest.approx(6 / 7)
    assert said["empty"].breached
    assert said["boxes"].value == pytest.approx(1 / 7)  # 2 boxes in 7 images, of 2 in each labelled one
    assert not said["boxes"].breached


def test_classes_that_people_did_not_mark_so_often_are_a_breach(world):
    said = signals(world, [found(A)] * 7, max_class_divergence=0.2)["class_divergence"]
    assert said.value == pytest.approx(0.215762, abs=1e-6)  # H(3/4, 1/4) - log(2) / 2
    assert said.breached
    assert "boxes' classes" in said.detail


@pytest.mark.parametrize(("number", "breached"), [(1, True), (2, False), (5, True)])
def test_too_few_and_too_many_boxes_are_a_breach(world, number, breached):
    said = signals(world, [found(*[A] * number, labels=[0, 1] * 3)] * 7, boxes=(0.6, 2.0))["boxes"]
    assert said.value == number / 2
    assert said.breached == breached


def test_boxes_of_one_round_only_are_counted():
    before, after = [found(A, C), nothing_found()], [found(A, B), found(C, labels=(1,))]
    # A is in both; C and the dog B of the first image, and the C of the second are of one round: 3 of 5.
    assert changed_share(before, after) == pytest.approx(3 / 5)
    assert changed_share([found(A)], [found(A, labels=(1,))]) == 1  # another class is another box
    assert changed_share([nothing_found()], [nothing_found()]) is None


def test_a_student_that_lost_the_objects_of_the_holdout_is_a_breach_unless_it_learned_from_it(world):
    lost = signals(world, [found(A, B)] * 7, student=found(C, C))["drop"]
    assert lost.value == pytest.approx(1.0)
    assert lost.breached
    assert not signals(world, [found(A, B)] * 7, student=found(C, C), max_drop=1.0)["drop"].breached
    assert signals(world, [found(A, B)] * 7, student=found(C, C), learned=True)["drop"].value is None


def test_images_of_a_group_are_drawn_together(world):
    """Lost objects in most of the hold-out are a breach, and none where all of that is one video."""
    params, folder = world
    table = read_split(folder / "split")
    right, lost = found(A, B), found(C, C)
    truth = marked(folder / "split", table, "holdout").given[:1] * 8
    sight = BoxSight(
        truth=truth, holdout_teacher=[right] * 8, holdout_student=[lost] * 6 + [right] * 2, sample=[0],
        pool_student=[right], broken=0,
    )  # fmt: skip
    for units, breached in ((None, True), (np.arange(8), True), (np.array([0] * 6 + [1, 2]), False)):
        said = measure(folder / "split", table, ([right] * 7, None), dataclasses.replace(sight, units=units), params)[
            "drop"
        ]
        assert said.value > 0.5
        assert said.breached == breached


def test_what_is_lost_in_the_one_image_that_shows_objects_may_be_lost_by_chance(world):
    params, folder = world
    table, nothing = read_split(folder / "split"), [nothing_found()] * 7
    truth = [marked(folder / "split", table, "holdout").given[0], *[nothing_given()] * 7]
    sight = BoxSight(
        truth=truth, holdout_teacher=[found(A, B), *nothing], holdout_student=[found(A), *nothing], sample=[0],
        pool_student=[found(A, B)], broken=0,
    )  # fmt: skip
    said = measure(folder / "split", table, ([found(A, B)] * 7, None), sight, params)["drop"]
    assert said.value == pytest.approx(0.5)
    assert not said.breached


def test_the_groups_of_the_split_are_those_of_the_guard(world):
    params, folder = world
    split = dataclasses.replace(params.detection.split, groups="()")
    params = dataclasses.replace(params, detection=dataclasses.replace(params.detection, split=split))
    table, teacher = read_split(folder / "split"), folder / "teacher"
    sight = look(folder / "split", table, (teacher, teacher), [nothing_found()] * 7, params)
    assert sight.units.tolist() == [0] * len(sight.truth)


def test_a_collapsed_student_names_few_classes(world):
    said = signals(world, [found(A, B)] * 7, student=nothing_found())
    assert said["classes_named"].value == 1  # in the pool it finds both
    params, folder = world
    table = read_split(folder / "split")
    truth = marked(folder / "split", table, "holdout").given
    blind = [nothing_found()] * len(truth)
    sight = BoxSight(
        truth=truth, holdout_teacher=blind, holdout_student=blind, sample=[0], pool_student=[nothing_found()], broken=0
    )
    said = measure(folder / "split", table, ([found(A, B)] * 7, None), sight, params)
    assert said["classes_named"].breached
    assert said["drop"].value == 0  # the teacher finds nothing either


def test_a_students_opinion_is_as_many_boxes_a_class_as_its_teacher_kept():
    said = [found(A, B, labels=(0, 0), scores=(0.9, 0.2)), found(C, A, labels=(0, 1), scores=(0.5, 0.1))]
    chosen = as_many(said, [found(A, B, labels=(0, 0)), nothing_found()])
    assert [one.scores.tolist() for one in chosen] == [[pytest.approx(0.9)], [pytest.approx(0.5)]]


def rounds_of(world, **guard):
    params, folder = world
    found = params.detection
    first, second = (
        BoxRound(teacher="work/detection/teacher"),
        BoxRound(teacher="work/detection/rounds/1/guard", holdout=True),
    )
    detection = dataclasses.replace(
        found, rounds={1: first, 2: second}, last=2, guard=dataclasses.replace(found.guard, **guard),
    )  # fmt: skip
    return dataclasses.replace(params, detection=detection), folder


def two_rounds(monkeypatch, params):
    """The commands of dvc.yaml for two rounds, in the current folder."""
    monkeypatch.setattr("tasks.params.load", lambda: params)
    split, work = "work/detection/split", "work/detection/rounds"
    for n, teacher in (("1", "work/detection/teacher"), ("2", f"{work}/1/guard")):
        assert (
            run(
                f"box_calibrate {split} {teacher} {work}/{n}/calibration",
                f"box_label {split} {teacher} {work}/{n}/calibration work/detection/teacher {work}/1/calibration "
                f"{work}/{n}/labels",
                f"box_crops {split} {work}/{n}/labels {work}/{n}/crops",
                f"box_names {work}/{n}/labels {work}/{n}/crops {work}/{n}/names",
                f"box_student {split} {teacher} {work}/{n}/names {work}/{n}/student",
                f"box_guard {split} {teacher} {work}/{n}/names {work}/{n}/student {work}/{n}/guard",
            )
            == [0] * 6
        )


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def note(folder):
    return read_json(folder / "learned_from.json")


def test_two_rounds_run_and_the_second_counts_flips(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sound = {"max_empty": 1.0, "max_class_divergence": 1.0, "boxes": (0.0, 1e9), "max_drop": 1.0, "max_flips": 1.0}
    params, folder = rounds_of(prepare(tmp_path), **sound)
    two_rounds(monkeypatch, params)
    first, second = (read_json(folder / f"rounds/{n}/guard/guard.json") for n in "12")
    assert (first["reasons"], second["reasons"]) == ([], [])
    assert (first["verdict"], second["verdict"]) == ("continue", "continue")
    assert weights(folder / "rounds/1/guard") == weights(folder / "rounds/1/student")
    assert [note(folder / f"rounds/{n}/guard") for n in "12"] == [["labelled"], ["labelled", "holdout"]]
    assert run(f"box_calibrate work/detection/split work/detection/rounds/2/guard {tmp_path}/c") == [2]
    assert "rounds/2/guard has learned from the hold-out" in capsys.readouterr().err
    assert first["signals"]["flips"]["value"] is None
    assert first["signals"]["drop"]["value"] is not None
    assert 0 <= second["signals"]["flips"]["value"] <= 1
    assert second["signals"]["drop"]["value"] is None  # the last student may learn from the hold-out
    ids, kept = read_found(folder / "rounds/1/guard", ANSWERS)
    assert len(ids) == 7
    assert sum(len(one.labels) for one in kept) == read_json(folder / "rounds/1/names/manifest.json")["kept"] > 0
    assert read_found(folder / "rounds/1/guard", OPINIONS)[0] == ids
    report = (folder / "rounds/1/guard/report.md").read_text()
    assert "Guard of round 1: goes on" in report
    assert "## Pseudo-boxes" in report


def test_the_phases_of_dug_run_and_are_fused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params, folder = rounds_of(
        prepare(tmp_path), max_empty=1.0, max_class_divergence=1.0, boxes=(0.0, 1e9), max_drop=1.0
    )
    found, learned = params.detection, []
    rounds = {
        1: dataclasses.replace(found.rounds[1], easiest=0.5),
        2: dataclasses.replace(found.rounds[2], boxes="agreed"),
    }
    method = DETECTION_METHODS["dug_multiphase"]()
    detection = dataclasses.replace(
        found, rounds=rounds, student=dataclasses.replace(found.student, method=method),
        fuse=dataclasses.replace(found.fuse, weights=(0.9, 1.0, 1.4)),
    )  # fmt: skip
    # Of seed 0 the first round's student opens no class.
    params = dataclasses.replace(params, detection=detection, seed=1)
    trained = students.train_detector
    monkeypatch.setattr(
        students, "train_detector", lambda job, *some, **more: learned.append(job.pseudo) or trained(job, *some, **more)
    )
    two_rounds(monkeypatch, params)
    assert int((learned[0].image_weight > 0).sum()) == 4  # round(0.5 * 7), all with boxes
    assert [len(pseudo) for pseudo in learned] == [7, 7]
    said = read_store(folder / "rounds/2/labels")
    kept, reasons = kept_boxes(said), set()
    for path in (folder / "rounds/2/labels").glob("shard-*.parquet"):
        reasons |= {why for row in pq.read_table(path)["reason"].to_pylist() for why in row}
    assert "not_agreed" in reasons  # every box of an open class reaches its threshold, 0: the first teacher refuses it
    assert "below_threshold" not in reasons
    assert sum(len(one.labels) for one in kept) == len(learned[1].labels)
    assert run("box_fuse work/detection/split work/detection/teacher work/detection/rounds work/detection/fused") == [0]
    assert read_json(folder / "fused/metrics.json")["images"] == 4
    assert sum(len(one.labels) for one in read_found(folder / "fused")[1]) > 0


def test_a_first_breach_weakens_a_second_stops_and_the_last_good_model_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params, folder = rounds_of(prepare(tmp_path), boxes=(900.0, 1e9), max_drop=1.0)  # never enough boxes
    two_rounds(monkeypatch, params)
    first, second = (read_json(folder / f"rounds/{n}/guard/guard.json") for n in "12")
    assert (first["verdict"], first["accepted"], first["unsupervised_weight"]) == ("weaken", True, 0.5)
    assert (second["verdict"], second["accepted"]) == ("stop", False)
    assert weights(folder / "rounds/2/guard") == weights(folder / "rounds/1/guard")
    assert weights(folder / "rounds/2/student") != weights(folder / "rounds/1/guard")
    assert any("boxes an image" in reason for reason in second["reasons"])
    again = "work/detection/rounds"
    assert run(
        f"box_student work/detection/split {again}/2/guard {again}/2/labels {again}/2/student",
        f"box_guard work/detection/split {again}/2/guard {again}/2/labels {again}/2/student {again}/3/guard",
    ) == [0, 0]
    passed = read_json(folder / "rounds/2/student/passed.json")["reason"]
    assert passed == f"the guard stopped the rounds: {second['reasons'][0]}"
    assert [note(folder / f"rounds/{n}") for n in ("2/guard", "2/student", "3/guard")] == [["labelled"]] * 3
    third = read_json(folder / "rounds/3/guard/guard.json")
    assert (third["verdict"], third["reasons"]) == ("stop", second["reasons"])
    assert weights(folder / "rounds/3/guard") == weights(folder / "rounds/1/guard")
