"""What may go wrong in a round, and what must be left of it."""

import json
import os
import shutil
import signal
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fresh import killed
from project import PREPARE, ROUND, TEACHER, make, run, write

import tasks.finished
import tasks.training
from tasks.locked import md5_of_folder
from tasks.progress import Progress
from tasks.written import read
from tutelage.data.manifest import read_split
from tutelage.train import checkpoint


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small project with its images ingested and split."""
    root = make(tmp_path_factory.mktemp("prepared"))
    with pytest.MonkeyPatch.context() as here:
        here.chdir(root)
        assert run(*PREPARE) == [0, 0, 0]
    return root


@pytest.fixture(scope="module")
def begun(prepared, tmp_path_factory):
    """The same with a teacher and its calibration."""
    root = shutil.copytree(prepared, tmp_path_factory.mktemp("begun"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(root)
        assert run(TEACHER, ROUND[0]) == [0, 0]
    return root


@pytest.fixture
def project(prepared, tmp_path, monkeypatch):
    """A copy of what is prepared that is the current folder."""
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path, dirs_exist_ok=True))


@pytest.fixture
def taught(begun, tmp_path, monkeypatch):
    """A copy of what has begun that is the current folder."""
    monkeypatch.chdir(shutil.copytree(begun, tmp_path, dirs_exist_ok=True))


def change(**values):
    """Write dotted names (__ for the dot) into the current params.yaml."""
    content = read(Path("params.yaml").read_text())
    for name, value in values.items():
        section, key = name.split("__")
        content[section][key] = value
    write(Path("params.yaml"), content)


def killed_at(update, command):
    """Run a task in a fork that kills itself as soon as it has told of its progress `update` times."""
    real, told = Progress.update, []

    def dies(self, number, text=""):
        real(self, number, text)
        told.append(number)
        if len(told) == update:
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(Progress, "update", dies):
        assert killed(lambda: run(command)) == -signal.SIGKILL


def test_a_round_from_images_to_a_guarded_model(project):
    assert run(TEACHER, *ROUND) == [0] * 5
    said = json.loads(Path("work/rounds/1/labels/manifest.json").read_text())
    table = read_split(Path("work/split"))
    assert said["images"] == table["role"].to_pylist().count("pool") == 3 * (40 - 12)
    assert Path("work/rounds/1/guard/model.safetensors").exists()
    assert not any(Path(".tutelage").rglob("*.pt"))  # a finished run needs no checkpoint


def test_killed_in_training_and_continued_is_bit_equal(project):
    killed_at(5, TEACHER)
    (saved,) = Path(".tutelage/checkpoints").rglob("run.pt")
    assert not Path("work/teacher").exists()
    assert run(TEACHER) == [0]
    cut = {path.name: path.read_bytes() for path in Path("work/teacher").iterdir()}
    assert not saved.exists()
    assert run(TEACHER) == [0]
    assert cut == {path.name: path.read_bytes() for path in Path("work/teacher").iterdir()}
    assert set(cut) == {"model.safetensors", "curve.csv", "learned_from.json"}


def test_what_is_left_of_a_run_whose_inputs_have_changed_goes_when_another_ends(project, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "teacher")
    killed_at(5, TEACHER)
    change(optimiser__lr=0.01)
    assert run(TEACHER) == [0]
    assert len(list(Path(".tutelage/checkpoints").iterdir())) == 1


def recorded(stage):
    """As DVC does in dvc.lock, when it has the lock that it waits for."""
    outs = [{"path": f"work/{stage}", "md5": md5_of_folder(Path("work") / stage)}]
    write(Path("dvc.lock"), {"stages": {stage: {"cmd": "python -m tasks", "outs": outs}}})


def test_what_dvc_has_not_recorded_yet_is_written_again_without_training(project, monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "teacher")
    recorded("split")
    assert run(TEACHER) == [0]
    first = {path.name: path.read_bytes() for path in Path("work/teacher").iterdir()}
    shutil.rmtree("work/teacher")  # DVC does so before it runs a stage
    assert run(PREPARE[2], TEACHER) == [0, 0]
    assert "teacher continues at step 12" in capsys.readouterr().out
    assert first == {path.name: path.read_bytes() for path in Path("work/teacher").iterdir()}


def test_what_dvc_has_recorded_is_trained_again_where_that_is_forced(project, monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "teacher")
    for _ in range(2):
        assert run(TEACHER) == [0]
        recorded("teacher")
    assert "continues" not in capsys.readouterr().out
    assert run(PREPARE[2]) == [0]  # whichever stage is next
    assert not any(Path(".tutelage").rglob("*.pt"))


def test_dvc_may_have_recorded_equal_bytes_before(project, monkeypatch, capsys):
    """Of code that has changed, and changed nothing."""
    monkeypatch.setenv("DVC_STAGE", "teacher")
    assert run(TEACHER) == [0]
    recorded("teacher")
    assert run(TEACHER) == [0]
    assert "continues" not in capsys.readouterr().out
    assert run(TEACHER) == [0]
    assert "teacher continues at step 12" in capsys.readouterr().out
    monkeypatch.setattr(tasks.finished, "_code", lambda: "mended since")
    assert run(TEACHER) == [0]
    assert "continues" not in capsys.readouterr().out


def test_of_a_stage_one_finished_run_is_kept(project, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "teacher")
    for steps in (12, 14):
        change(teacher__steps=steps)
        assert run(TEACHER) == [0]
    assert len([*Path(".tutelage").rglob("*.pt")]) == 1


def test_labels_that_dvc_has_not_recorded_yet_are_not_asked_for_again(project, monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "pseudo_label@1")
    assert run(TEACHER, *ROUND[:2]) == [0] * 3
    monkeypatch.setattr("tasks.pseudo_label.described", None)
    assert run(ROUND[1]) == [0]


def test_a_checkpoint_of_other_data_or_params_is_never_picked_up(project, monkeypatch):
    restored = []
    real = checkpoint.restore
    monkeypatch.setattr(checkpoint, "restore", lambda run, path: restored.append(real(run, path)) or restored[-1])
    monkeypatch.setattr(tasks.training, "save_model", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "disk full")))
    assert run(TEACHER) == [1]  # trained to the end, checkpoints stay
    change(optimiser__lr=0.01)
    assert run(TEACHER) == [1]
    shutil.copy("images/test/cross/000.png", "images/train/cross/000.png")
    run(*PREPARE)
    assert run(TEACHER) == [1]
    assert restored == [False, False, False]


def test_killed_in_labelling_and_continued_is_byte_equal(taught):
    change(pseudo_label__shard_size=10, pseudo_label__batch=10)
    killed_at(3, ROUND[1])
    assert len(list(Path(".tutelage/labels").rglob("*.parquet"))) == 3
    assert not Path("work/rounds/1/labels").exists()
    assert run(ROUND[1]) == [0]
    cut = {path.name: path.read_bytes() for path in Path("work/rounds/1/labels").iterdir()}
    assert run(ROUND[1]) == [0]
    assert cut == {path.name: path.read_bytes() for path in Path("work/rounds/1/labels").iterdir()}


def test_no_label_passes_and_training_goes_on(taught):
    change(calibrate__target_precision=0.999, calibrate__cap=1.0)
    assert run(*ROUND) == [0] * 4
    labels = pq.read_table("work/rounds/1/labels/shard-00000.parquet")
    assert not any(labels["kept"].to_pylist())
    assert set(labels["reason"].to_pylist()) <= {"below_threshold", "class_rejected"}
    guard = json.loads(Path("work/rounds/1/guard/guard.json").read_text())
    assert guard["signals"]["empty"]["breached"]
    assert "no label" in guard["reasons"][0]


def test_an_empty_pool_passes_the_teacher_on(project):
    change(split__labels_per_class=None)
    assert run(*PREPARE[1:], TEACHER, *ROUND) == [0] * 7
    same = [Path(f"work/{name}/model.safetensors").read_bytes() for name in ("teacher", "rounds/1/guard")]
    assert same[0] == same[1]
    assert json.loads(Path("work/rounds/1/student/passed.json").read_text()) == {"reason": "the pool is empty"}


def test_after_a_stop_the_last_good_model_is_passed_on(taught):
    assert run(ROUND[1]) == [0]
    Path("work/teacher/guard.json").write_text(
        json.dumps({"verdict": "stop", "reasons": ["labels flipped"], "unsupervised_weight": 0.5})
    )
    assert run(ROUND[2]) == [0]
    assert "labels flipped" in Path("work/rounds/1/student/passed.json").read_text()


def test_the_guard_weakens_what_comes_from_the_pool(taught):
    assert run(*ROUND[1:3]) == [0] * 2
    full = Path("work/rounds/1/student/model.safetensors").read_bytes()
    Path("work/teacher/guard.json").write_text(
        json.dumps({"verdict": "weaken", "reasons": [], "unsupervised_weight": 0.5})
    )
    assert run(ROUND[2]) == [0]
    weak = Path("work/rounds/1/student/model.safetensors").read_bytes()
    assert b"unsupervised=0.5" in weak
    assert weak != full


def test_a_loss_that_is_not_a_number_stops_with_a_message(project, capsys):
    change(optimiser__lr=1e18, optimiser__clip=1e30)
    assert run(TEACHER) == [1]
    said = capsys.readouterr().err
    assert "not finite at step" in said
    assert "Lower optimiser.lr" in said
    assert any(Path(".tutelage").rglob("batch-*.pt"))
    assert not Path("work/teacher").exists()


@pytest.mark.parametrize("number", [28, 13])
def test_a_full_or_unwritable_disk_loses_nothing(taught, monkeypatch, capsys, number):
    before = Path("work/teacher/model.safetensors").read_bytes()
    change(teacher__steps=14)

    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number), "work/teacher.tutelage.part/model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(tasks.training, "save_model", fail)
        assert run(TEACHER) == [1]
    said = capsys.readouterr().err
    assert os.strerror(number) in said
    assert "work/teacher.tutelage.part/model.safetensors" in said
    assert Path("work/teacher/model.safetensors").read_bytes() == before
    assert run(TEACHER) == [0]


def test_calibration_of_another_teacher_is_refused(taught, capsys):
    change(teacher__steps=14)
    assert run(TEACHER, ROUND[1]) == [0, 2]
    assert "was made for another model" in capsys.readouterr().err


def test_a_model_that_learned_from_the_hold_out_is_not_calibrated_on_it(taught, capsys):
    change(rounds__1={"teacher": "work/teacher", "holdout": True})
    assert run(*ROUND[1:]) == [0] * 3
    said = "has learned from the hold-out (learned_from.json), so it proves nothing there"
    for model in ("student", "guard"):
        assert run(f"calibrate work/split work/rounds/1/{model} work/c") == [2]
        assert f"work/rounds/1/{model} {said}" in capsys.readouterr().err
    for stage in ("oracle", "baseline"):
        assert run(f"{stage} work/split work/doctor work/{stage}", f"calibrate work/split work/{stage} work/c") == [
            0,
            2,
        ]
    change(compare__measured_on="holdout")
    assert run("compare work/split work/baseline work/compare") == [2]
    assert f"work/baseline {said}" in capsys.readouterr().err


def test_labels_of_another_pool_are_refused(taught, capsys):
    assert run(ROUND[1]) == [0]
    change(split__labels_per_class=10)
    assert run(*PREPARE[1:], TEACHER, ROUND[2]) == [0, 0, 0, 2]
    assert "another pool" in capsys.readouterr().err


def test_test_labels_never_reach_training_or_the_guard(taught):
    """Shuffle the labels of the test split: nothing before the judge may change."""
    outputs = ("teacher", "rounds/1/calibration", "rounds/1/labels", "rounds/1/student", "rounds/1/guard")

    def written():
        return {str(p): p.read_bytes() for out in outputs for p in sorted(Path("work", out).rglob("*")) if p.is_file()}

    assert run(*ROUND[1:]) == [0] * 3
    before = written()
    table = read_split(Path("work/split"))
    label = np.array(table["label"].to_pylist(), object)
    test = np.flatnonzero(np.array(table["role"].to_pylist()) == "test")
    label[test] = np.random.default_rng(0).permutation(label[test])
    place = table.schema.get_field_index("label")
    shuffled = table.set_column(place, table.schema.field("label"), pa.array(label.tolist(), pa.int32()))
    pq.write_table(shuffled, "work/split/split.parquet")
    assert run(TEACHER, *ROUND) == [0] * 5
    assert written() == before


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("techer work/split work/doctor work/teacher", 2, "'techer' is not a task. Did you mean 'teacher'?"),
        ("teacher work/split", 2, "Usage: python -m tasks teacher SPLIT DOCTOR OUT"),
        ("teacher work/nowhere work/doctor work/teacher", 2, "work/nowhere does not exist"),
    ],
)
def test_a_wrong_command_says_the_right_one(project, capsys, command, code, said):
    assert run(command) == [code]
    assert said in capsys.readouterr().err
