"""From a large network to a judged compact one, through the command line."""

import json
from pathlib import Path

import pytest
from project import COMPRESS, PREPARE, make, run, write

from tasks.training import NOTE
from tasks.written import read
from tutelage.models.files import load_model


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small project after its whole chain."""
    root = make(tmp_path_factory.mktemp("compress"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert run(*PREPARE, *COMPRESS) == [0] * (len(PREPARE) + len(COMPRESS))
    return root


def model(path):
    return load_model(path / "model.safetensors")[1]


def test_the_student_and_its_baseline_are_smaller_than_the_teacher(project):
    folder = project / "work/compress"
    teacher, student, baseline = (model(folder / name) for name in ("teacher", "students/1", "baseline"))
    assert (teacher.spec.width, student.spec.width) == (12, 4)
    assert student.spec == baseline.spec
    assert student.method.startswith("KD(")
    assert baseline.method.startswith("Supervised(")
    assert student.sha256 != baseline.sha256
    notes = [json.loads((folder / name / NOTE).read_text()) for name in ("teacher", "students/1", "baseline", "judge")]
    assert notes == [["labelled", "holdout"]] * 4  # none of them may be calibrated on the hold-out


def test_the_verdict_names_a_winner_and_keeps_its_files(project):
    folder = project / "work/compress"
    verdict = json.loads((folder / "judge/verdict.json").read_text())
    assert [check["name"] for check in verdict["checks"]] == ["accuracy", "size", "speed"]
    place = {"student": folder / "students/1", "teacher": folder / "teacher"}[verdict["winner"]]
    assert model(folder / "judge").sha256 == model(place).sha256 == verdict["digests"][verdict["winner"]]
    exported = folder / "export" / verdict["winner"] / "model.onnx"
    assert (folder / "judge/model.onnx").read_bytes() == exported.read_bytes()
    assert set(verdict["variants"]["student"]) == {"fp32", "fp16", "int8"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("compact work/split work/compress/teacher work/compress/students/2", "does not say its link"),
        ("compact work/split work/compress/teacher work/compress/students/x", "does not say its link"),
        ("alone work/split work/doctor work/compress/large", "does not say which network"),
    ],
)
def test_a_folder_that_says_no_role_is_refused(project, monkeypatch, capsys, command, said):
    monkeypatch.chdir(project)
    assert run(command) == [2]
    assert said in capsys.readouterr().err


def test_an_assistant_stands_between_teacher_and_student(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, compress__last=2))
    content = read(Path("params.yaml").read_text())
    content["compress"]["chain"] = {
        "1": {"teacher": "work/compress/teacher", "network": {"width": 8}},
        "2": {"teacher": "work/compress/students/1", "network": {"width": 4}},
    }
    write(Path("params.yaml"), content)
    assert (
        run(*PREPARE, *COMPRESS[:3], "compact work/split work/compress/students/1 work/compress/students/2") == [0] * 7
    )
    widths = [model(Path("work/compress") / name).spec.width for name in ("teacher", "students/1", "students/2")]
    assert widths == [12, 8, 4]
    assert model(Path("work/compress/baseline")).spec.width == 4
