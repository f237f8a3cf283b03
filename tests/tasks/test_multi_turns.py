"""A student whose tasks have turns, through its stage: what it trains on, what judges it, and a run that is cut."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from interrupted import interrupted
from multi_work import FOLDER, SHARES, SPLIT, params_of, prepare, taught

import tasks.multi_student as stage
from tasks.io import read_json
from tasks.multi_student import multi_student
from tasks.multi_training import given_of, source_of, truth_of
from tasks.multi_turns import held_images, of_turn, with_likeliest
from tasks.training import rows_of
from tasks.turn_params import PlanTurns
from tutelage.data.manifest import read_split
from tutelage.train.multilingual_nmt import MultilingualNMT, Teaching
from tutelage.train.tscl import TSCL
from tutelage.train.turns import Plan
from tutelage.types import BadInput

BOTH = ("classification", "depth")
NOTHING = Teaching.begin([])  # is remembered
GUIDES = {"tscl": TSCL(variant="naive", window=2), "multilingual_nmt": MultilingualNMT(top=1, threshold=0.1)}


def small():
    """Half of the labelled scenes are the hold-out, which the teachers leave alone."""
    params = params_of(BOTH)
    split = dataclasses.replace(params.detection.split, holdout=0.5)
    teacher = dataclasses.replace(params.multitask.teacher, holdout=False)
    return dataclasses.replace(
        params, detection=dataclasses.replace(params.detection, split=split),
        multitask=dataclasses.replace(params.multitask, teacher=teacher),
        compute=dataclasses.replace(params.compute, checkpoint_seconds=0.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes, shares and what two specialists say."""
    root = tmp_path_factory.mktemp("turns")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        taught(prepare(root, BOTH, params=small()), *BOTH)
    return root


@pytest.fixture
def params(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return small()


def with_turns(params, guide, **changes):
    turns = PlanTurns(every=2, learn=guide)
    student = dataclasses.replace(params.multitask.student, steps=4, turns=turns, **changes)
    return dataclasses.replace(params, multitask=dataclasses.replace(params.multitask, student=student))


def student(params, out):
    return multi_student(SPLIT, SHARES, FOLDER / "teachers", FOLDER / "labels", params=params, out=out / "student")


@pytest.fixture
def handed(params, monkeypatch):
    """The params, and the job and hold-out that the stage hands to the loop."""
    seen = []
    monkeypatch.setattr(stage, "train_in_turns", lambda job, held, *others, **named: seen.extend((job, held)))
    params = with_turns(params, GUIDES["tscl"])
    student(params, FOLDER / "nowhere")
    return params, *seen


@pytest.mark.parametrize("name", GUIDES)
def test_a_student_in_turns_that_is_cut_off_ends_with_the_same_bytes(params, name, tmp_path):
    params = with_turns(params, GUIDES[name])
    with interrupted(3):
        student(params, tmp_path)
    assert len(list(Path(".tutelage/checkpoints").rglob("run.pt"))) == 1
    continued, whole = student(params, tmp_path), student(params, tmp_path / "other")
    for file in ("model.safetensors", "turns.json", "curve.csv"):
        assert (continued / file).read_bytes() == (whole / file).read_bytes()
    told = read_json(whole / "turns.json")
    assert [turn["step"] for turn in told["turns"]] == [2, 4]
    assert all(sorted(turn["scores"]) == sorted(BOTH) for turn in told["turns"])
    if name == "tscl":
        assert told["specialists"] is None
        assert all(turn["labels"] == turn["pool"] and len(turn["pool"]) == 1 for turn in told["turns"])
    else:
        first, second = told["turns"]
        assert first["labels"] == second["labels"] == first["pool"] == list(BOTH)
        better = {task: first["scores"][task] > told["specialists"][task] + 0.1 for task in BOTH}
        assert second["pool"] == [task for task in BOTH if not better[task]]


def test_the_hold_out_judges_and_is_not_trained_on(handed):
    params, job, held = handed
    table = read_split(SPLIT)
    assert set(held.rows) == set(rows_of(table, "holdout"))
    assert set(job.given.rows) == set(rows_of(table, "labelled"))
    found = held_images(job, held, table, params)
    for task in BOTH:
        judged = [row for source in found[task] for row in source.labeled]
        assert judged == [row for row, owner in zip(held.rows, held.tasks, strict=True) if owner == task]
        batch = found[task][0][0].labeled
        assert {each: len(getattr(batch.truth, each).rows) for each in BOTH} == {
            each: len(batch.images) if each == task else 0 for each in BOTH
        }
    plain = found["depth"][0]
    alone = dataclasses.replace(plain, labeled=plain.labeled[:1], labeled_batch=1)
    picture = alone[0].labeled.images[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(picture, alone.images[int(alone.labeled[0])])  # as it is: no view is drawn


def test_a_turn_draws_what_its_tasks_have_and_no_pool_where_no_teacher_is_left(handed):
    params, job, _ = handed
    source = source_of(job, read_split(SPLIT), params)

    def rows(labels, pool):
        batch = of_turn(source, job.given, job.told, Plan(labels, pool, NOTHING))[0]
        return [{task: len(getattr(part.truth, task).rows) for task in BOTH} for part in batch], batch.pool.images

    assert rows(("depth",), ("depth",))[0] == [{"classification": 0, "depth": 2}] * 2
    (labels, pool), images = rows(BOTH, ("depth",))
    assert sum(labels.values()) == 2
    assert pool == {"classification": 0, "depth": 2}
    assert len(images) == 2
    assert len(rows(BOTH, ())[1]) == 0


def test_of_a_teacher_only_the_likeliest_classes_are_heard(handed):
    _, job, _ = handed
    told = with_likeliest(job.told, 1)
    for place, chances in enumerate(job.told.present):
        known = told(place).classification
        assert known.target.tolist() == chances.tolist()
        assert known.weight.tolist() == [float(chance == chances.max()) for chance in chances]


def test_a_task_without_a_held_out_image_is_refused(handed):
    params, job, _ = handed
    table = read_split(SPLIT)
    none = given_of(("depth",), table, truth_of(SPLIT, SHARES, table, params), shares=SHARES, roles=("holdout",))
    with pytest.raises(BadInput, match=r"no image of classification\. Raise multitask\.split\.holdout"):
        held_images(job, none, table, params)
