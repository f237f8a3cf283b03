"""What a run of detection will take, before it is run."""

import dataclasses
import pickle

import pytest
from box_work import labelled, named, prepare
from small_work import contents

import tutelage.train.detect as detecting
from tasks import box_workload, pace
from tasks.box_evaluate import box_evaluate
from tasks.box_guard import box_guard
from tasks.box_params import BoxRound
from tasks.box_student import box_student


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return prepare(tmp_path)


def works(params, *names):
    world = box_workload.world(params)
    return {name: box_workload.STAGES[name.partition("@")[0]](world, name.partition("@")[2]) for name in names}


def test_stages_ask_about_as_many_images_as_was_said(place, monkeypatch):
    """6 labelled scenes, 2 held out, 7 of the pool and 4 of the test; the real stages, counted."""
    params, folder = place
    read, real = [], detecting.batches_of

    def counted(images, chunks, **kwargs):
        read.append(sum(map(len, chunks)))
        return real(images, chunks, **kwargs)

    monkeypatch.setattr(detecting, "batches_of", counted)
    labels = named(params, folder, labelled(params, folder, folder / "rounds/1/labels"))
    student = box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")
    box_guard(folder / "split", folder / "teacher", labels, student, params=params, out=folder / "rounds/1/guard")
    box_evaluate(folder / "split", folder / "teacher", params=params, out=folder / "evaluation/teacher")
    told = works(params, "box_calibrate@1", "box_label@1", "box_guard@1", "box_evaluate@teacher")
    amounts = {name: [work.amount for work in found] for name, found in told.items()}
    assert amounts == {
        "box_calibrate@1": [2], "box_label@1": [7], "box_guard@1": [2, 9], "box_evaluate@teacher": [4],
    }  # fmt: skip
    assert sum(read) == 2 + 7 + 2 + 9 + 4


def test_a_few_real_steps_and_boxes_that_leave_nothing_behind(place, monkeypatch):
    monkeypatch.setattr(pace, "TRIED", 2)
    params, folder = place
    before = contents(folder.parents[1])
    for name, found in works(params, "detector@teacher", "box_student@1", "box_label@1", "box_names@1").items():
        for work in found:
            measured = pickle.loads(pickle.dumps(work.measure))()  # as another process does it
            assert 0 < measured.tried <= 2, name
            assert min(measured.first, measured.again) > 0
    assert contents(folder.parents[1]) == before


def test_what_is_not_asked_for_takes_nothing(place):
    params, _ = place
    detection = dataclasses.replace(params.detection, oracle=None, names=None)
    params = dataclasses.replace(params, detection=detection)
    assert [*works(params, "detector@oracle", "box_evaluate@oracle", "box_names@1", "box_fuse").values()] == [[]] * 4
    first = dataclasses.replace(detection.rounds[1], holdout=False)
    second = BoxRound(teacher="work/detection/rounds/1/guard", boxes="agreed")
    params = dataclasses.replace(
        params, detection=dataclasses.replace(detection, rounds={1: first, 2: second}, last=2)
    )  # two detectors are asked
    told = works(params, "box_label@1", "box_label@2")
    assert [[work.amount for work in found] for found in told.values()] == [[7], [7, 7]]
