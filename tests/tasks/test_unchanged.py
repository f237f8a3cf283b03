"""An edit while a stage runs is never recorded as what the stage was made of."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT, environment

from tasks import finished
from tasks.unchanged import unchanged
from tutelage.types import BadInput

DVC = """
stages:
  student:
    foreach: ${rounds}
    do:
      cmd: python -m tasks student work/${key}
      deps: [images, tasks/student.py, src/tutelage]
      params: [student, views.flip, "rounds.${key}"]
      outs: ["work/${key}"]
"""
PARAMS = (
    "student: {steps: 1200, method: kd}\nviews: {flip: true, blur: 0}\nrounds: {'1': {teacher: a}, '2': {teacher: b}}\n"
)
CODE = ("tasks/student.py", "tasks/page.py", "src/tutelage/train/loop.py")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC runs a stage in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "student@1")
    for name, text in (("dvc.yaml", DVC), ("params.yaml", PARAMS), *((name, "pass") for name in CODE)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def edit(old: str, new: str) -> None:
    path = Path("params.yaml")
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("steps: 1200", "steps: 4000", r"student.steps was 1200, is 4000\. What it made"),
        ("method: kd", "temperature: 2", 'student.method was "kd", is null, student.temperature was null, is 2'),
        ("flip: true, ", "", "views.flip was true, is null"),
        ("teacher: a", "teacher: c", 'rounds.1.teacher was "a", is "c"'),
        ("{steps", "{{steps", "params.yaml, which is no YAML any more"),
    ],
)
def test_params_that_the_stage_reads_may_not_change_while_it_runs(stage: None, old: str, new: str, told: str) -> None:
    with pytest.raises(BadInput, match=told), unchanged():
        edit(old, new)


@pytest.mark.parametrize(("old", "new"), [("blur: 0", "blur: 1"), ("teacher: b", "teacher: c"), ("kd}", "kd} # why")])
def test_params_that_it_does_not_read_may(stage: None, old: str, new: str) -> None:
    with unchanged():
        edit(old, new)


@pytest.mark.parametrize("name", [CODE[0], CODE[2], "src/tutelage/new.py"])
def test_code_that_dvc_hashes_for_it_may_not_change_while_it_runs(stage: None, name: str) -> None:
    with pytest.raises(BadInput, match=f"student@1 is not recorded.* while it ran: {name}. What"), unchanged():
        Path(name).write_text("mended")


def test_other_code_may_and_so_may_dates(stage: None) -> None:
    with unchanged():
        Path("tasks/page.py").write_text("mended")
        Path("tasks/student.py").touch()


def test_code_that_is_gone_is_a_change(stage: None) -> None:
    with pytest.raises(BadInput, match=CODE[2]), unchanged():
        shutil.rmtree("src/tutelage/train")


@pytest.mark.parametrize("other", [None, "mine"])
def test_a_stage_by_hand_and_one_of_another_dvc_yaml_are_not_concerned(
    stage: None, monkeypatch: pytest.MonkeyPatch, other: str | None
) -> None:
    monkeypatch.setenv("DVC_STAGE", other) if other else monkeypatch.delenv("DVC_STAGE")
    with unchanged():
        edit("steps: 1200", "steps: 4000")


def test_what_is_finished_is_of_the_code_that_its_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next run of the stage would take what the old code has made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "teacher")
    monkeypatch.setattr(finished, "ROOT", tmp_path)
    for name in ("tasks/teacher.py", "out/model", ".tutelage/checkpoints/one/run.pt"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text("first")
    finished._code.cache_clear()
    finished.forget_recorded()
    Path("tasks/teacher.py").write_text("mended")
    finished.finish(Path("out"), Path(".tutelage/checkpoints/one"))
    finished._code.cache_clear()  # another process
    finished.forget_recorded()
    assert not Path(".tutelage/checkpoints/one").exists()
    finished._code.cache_clear()


FETCH = """
import json, sys
from pathlib import Path
import tasks.fetch
from tasks.__main__ import main

def edited(*, params, out):
    out.mkdir()
    (out / "made").write_text(params.fetch.dataset)
    path = Path("params.yaml")
    path.write_text(path.read_text().replace(*json.loads(Path("edit").read_text())))

tasks.fetch.fetch = edited
sys.exit(main(["fetch", "out"]))
"""


def test_dvc_records_no_stage_whose_params_were_edited_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}

    def dvc(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "dvc", *words], env=env, text=True, capture_output=True)

    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path("dvc.yaml").write_text("stages:\n  fetch: {cmd: python fetch.py, params: [fetch], outs: [out]}\n")
    Path("fetch.py").write_text(FETCH)
    Path("edit").write_text('["dataset: fashion_mnist", "dataset: none"]')
    dvc("init", "-q", "--no-scm")
    said = dvc("repro")
    assert 'fetch.dataset was "fashion_mnist", is "none"' in said.stderr
    assert (said.returncode != 0, Path("dvc.lock").exists()) == (True, False)
    Path("edit").write_text('["seed: ", "seed: 1"]')
    assert dvc("repro").returncode == 0
    assert Path("out/made").read_text() == "none"
    assert "dataset: none" in Path("dvc.lock").read_text()
