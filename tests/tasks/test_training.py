"""Which images each stage trains on."""

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_work import make_split, new_network, plant_labels, small_params

import tasks.box_training
import tasks.student
import tasks.teacher
import tasks.training
from tasks.baseline import baseline
from tasks.box_training import BoxJob
from tasks.carry import _log, carry_out
from tasks.student import student
from tasks.teacher import teacher
from tasks.training import Job, as_seen, source
from tutelage.data.batches import batches
from tutelage.data.manifest import read_split
from tutelage.data.pseudo_labels import PseudoLabels
from tutelage.methods.simclr import SimCLR
from tutelage.methods.supervised import Supervised
from tutelage.models.files import save_translator
from tutelage.models.translators import Translator
from tutelage.train.loop import Step, begin
from tutelage.types import BadInput, Batch, Labeled, Sizes, Unlabeled

ROLES = {"labelled": 5, "holdout": 4, "pool": 6, "test": 3}


@pytest.fixture
def split(tmp_path):
    return make_split(tmp_path, ROLES)


@pytest.fixture
def jobs(monkeypatch):
    """What would have been trained."""
    kept = []
    for stage in (tasks.training, tasks.student, tasks.teacher):
        monkeypatch.setattr(stage, "run", lambda job, *_, **__: kept.append(job))
    return kept


def trained_on(job, split):
    """Roles of the images whose labels are read, each with how many there are of it."""
    table = read_split(split)
    assert job.labels.tolist() == [table["label"][row].as_py() for row in job.labeled]
    roles = np.array(table["role"].to_pylist())[job.labeled].tolist()
    return {role: roles.count(role) for role in roles}


def test_the_teacher_never_sees_the_hold_out_and_the_baseline_has_every_label(split, jobs):
    for stage in (teacher, baseline):
        stage(split, Path(), params=small_params(), out=Path())
    first, second = jobs
    assert trained_on(first, split) == {"labelled": 5}
    assert trained_on(second, split) == {"labelled": 5, "holdout": 4}
    assert all(len(job.pool) == len(job.pseudo.weight) == 0 for job in jobs)


@pytest.mark.parametrize("change", [{"threads": 2}, {"precision": "bf16"}])
def test_a_checkpoint_of_other_arithmetic_is_not_continued_and_one_of_other_workers_is(split, jobs, change):
    teacher(split, Path(), params=small_params(), out=Path())

    def name(**compute):
        params = small_params()
        params = replace(params, compute=replace(params.compute, **compute))
        return tasks.training.fingerprint(jobs[0], read_split(split), params)

    assert name(**change) != name() == name(workers=3, checkpoint_seconds=1.0)


@pytest.mark.parametrize(("holdout", "seen"), [(False, {"labelled": 5}), (True, {"labelled": 5, "holdout": 4})])
def test_a_student_sees_the_hold_out_where_its_round_says_so(split, jobs, monkeypatch, holdout, seen):
    said, asked = PseudoLabels.none(6, 3), []

    def known(labels, ids, classes):
        asked.extend(ids)
        return said, np.arange(len(ids))

    monkeypatch.setattr(tasks.student, "read_known", known)
    params = small_params(rounds=1)
    params = replace(params, rounds={1: replace(params.rounds[1], holdout=holdout)})
    (model := split / "model.safetensors").write_bytes(b"weights")
    labels = plant_labels(split / "labels", split, teacher=hashlib.sha256(b"weights").hexdigest())
    student(split, split, labels, params=params, out=Path("rounds/1/student"))
    (job,) = jobs
    assert trained_on(job, split) == seen
    table = read_split(split)
    assert [table["role"][row].as_py() for row in job.pool] == ["pool"] * 6
    assert [table["id"][row].as_py() for row in job.pool] == asked
    assert job.pseudo is said
    assert job.teacher == model


def test_a_student_refuses_the_labels_of_another_teacher(split, jobs):
    (split / "model.safetensors").write_bytes(b"weights")
    labels = plant_labels(split / "labels", split, teacher=hashlib.sha256(b"others").hexdigest())
    with pytest.raises(BadInput, match=r"labels was written by another teacher \(.*Run `dvc repro`"):
        student(split, split, labels, params=small_params(rounds=1), out=Path("rounds/1/student"))
    assert not jobs


@pytest.mark.parametrize(("method", "seen"), [(SimCLR(), 6), (Supervised(), 0)])
def test_a_teacher_sees_the_pool_where_its_method_learns_from_it_and_never_its_labels(split, jobs, method, seen):
    params = small_params()
    params = replace(params, teacher=replace(params.teacher, method=method, pool_batch=4 * bool(seen)))
    teacher(split, split, params=params, out=split / "taught")
    (job,) = jobs
    assert len(job.pool) == len(job.pseudo.weight) == seen
    assert not job.pseudo.weight.any()
    assert trained_on(job, split) == {"labelled": 5}


def test_a_curve_is_written_beyond_a_million_steps(tmp_path):
    for number in (1_006_560, 1_017_045):
        _log(tmp_path / "curve.csv", Step(number, {"task": torch.tensor(0.25)}))
    assert (tmp_path / "curve.csv").read_text() == "step,loss,task\n1006560,0.25,0.25\n1017045,0.25,0.25\n"


def test_a_disk_that_is_full_when_a_line_of_the_curve_is_written_costs_no_line_before_it(tmp_path, monkeypatch):
    def log(number):
        _log(tmp_path / "curve.csv", Step(number, {"task": torch.tensor(0.25)}))

    log(1)
    with monkeypatch.context() as full:
        full.setattr("csv.DictWriter.writerows", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
        full.setattr("tasks.io.sync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(OSError, match="disk full"):
            log(2)
    assert (tmp_path / "curve.csv").read_text() == "step,loss,task\n1,0.25,0.25\n"
    log(2)
    assert (tmp_path / "curve.csv").read_text() == "step,loss,task\n1,0.25,0.25\n2,0.25,0.25\n"


def test_a_run_ends_by_saying_its_pace_and_what_it_waited_for(tmp_path, capsys):
    def slow():
        """Batches of five images, which take longer than the steps on them."""
        two, three = torch.zeros(2, 3, 8, 8), torch.zeros(3, 3, 8, 8)
        for _ in range(3):
            time.sleep(0.1)
            labeled = Labeled(two, two, torch.zeros(2, dtype=torch.int64))
            yield Batch(labeled, Unlabeled(three, three, torch.arange(3), torch.zeros(3, 3), torch.zeros(3)))

    params = small_params()
    state = begin(Supervised(), new_network(0), None, Sizes(2, 3, 3, 3), params.optimiser)
    carry_out(
        "teacher", Supervised(), state, lambda _: slow(), steps=3, optimiser=params.optimiser, compute=params.compute,
        scratch=tmp_path,
    )  # fmt: skip
    *_, last = capsys.readouterr().out.splitlines()
    pace, memory = last.rsplit(", ", 1)
    told = re.fullmatch(r"teacher: ([\d.]+) steps/s, ([\d.]+) images/s, (\d+) % of the time waiting for images", pace)
    assert 0.05 < float(re.fullmatch(r"at most ([\d.]+) GB of memory", memory)[1]) < 50
    assert float(told[2]) == pytest.approx(5 * float(told[1]), abs=0.3)
    assert 30 <= int(told[3]) <= 100


def test_a_translator_that_is_read_draws_no_random_number(tmp_path):
    save_translator(tmp_path / "t.safetensors", Translator(width=2, blocks=1))
    job = Job(
        name="j", train=small_params().teacher, network=small_params().network, labeled=np.zeros(0, np.int64),
        labels=np.zeros(0, np.int64), pool=np.zeros(0, np.int64), pseudo=PseudoLabels.none(0, 3),
        translator=tmp_path / "t.safetensors",
    )  # fmt: skip
    before = torch.get_rng_state()
    as_seen(job, [], small_params())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("start", "same"), [("scratch", True), ("teacher", False)])
def test_who_goes_on_from_a_teachers_weights_sees_other_views_than_these_have_learned_from(split, jobs, start, same):
    """Two networks of equal seed and equal labels are compared view by view."""
    known, table = small_params(), read_split(split)
    baseline(split, Path(), params=known, out=Path())
    going_on = [replace(jobs[0], name=name, train=replace(jobs[0].train, start=start)) for name in ("one", "two")]

    def views(job):
        return next(iter(batches(source(job, table, known), start=3, stop=4, workers=0))).labeled.strong.moves

    first, *others = map(views, (jobs[0], *going_on))
    assert [torch.equal(first, other) for other in others] == [same, same]
    assert torch.equal(*others) == same
    assert torch.equal(others[0], views(going_on[0]))


def test_detectors_that_go_on_from_a_teacher_draw_by_the_same_rule(monkeypatch):
    seen = []
    monkeypatch.setattr(tasks.box_training, "seed_of", lambda *given: seen.append(given) or 7)
    monkeypatch.setattr(tasks.box_training, "Images", SimpleNamespace(open=lambda *_, **__: None))
    monkeypatch.setattr(tasks.box_training, "sizes_of", lambda _: None)
    monkeypatch.setattr(tasks.box_training, "classes_of", lambda _: ["cat"])
    monkeypatch.setattr(tasks.box_training, "SceneSource", SimpleNamespace)
    known = small_params()
    train = replace(known.detection.student, start="teacher")
    job = BoxJob(
        name="box_student@1", train=train, network=known.detection.network, annotations=None, labeled=np.arange(3),
        pool=np.arange(0), pseudo=None,
    )  # fmt: skip
    assert tasks.box_training.source(job, None, known).seed == 7
    assert seen == [("box_student@1", "teacher", known)]
