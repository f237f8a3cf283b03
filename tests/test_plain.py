import os
import shlex
import subprocess

import pytest

from benchmarks import folds, plain, runs
from tasks import graph

DVC = """
stages:
  split: {cmd: python make.py split, deps: [scenes], outs: [work/split]}
  train:
    foreach: {a: 1, b: 2}
    do: {cmd: "python make.py ${key} ${item}", deps: [work/split], outs: ["work/${key}"]}
  guard:
    foreach: ${rounds}
    do:
      cmd: python make.py ${item.teacher} guard${key}
      deps: ["${item.teacher}/model", work/split]
      outs: ["work/guard/${key}"]
  judge:
    cmd: python make.py judge
    deps: [work/guard, work/b]
    outs: [work/judge]
  other: {cmd: python make.py other, deps: [], outs: [work/other]}
"""
MAKE = """
import pathlib, sys
print(*sys.argv[1:], file=open("said", "a"), flush=True)
assert sys.argv[1] != "a" or not pathlib.Path("broken").exists()
name = sys.argv[-1].replace("guard", "guard/") if sys.argv[-1].startswith("guard") else sys.argv[1]
pathlib.Path("work", name).mkdir(parents=True)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "make.py").write_text(MAKE)
    (tmp_path / "params.yaml").write_text('rounds: {"1": {teacher: work/a}}')
    return tmp_path


def said(folder):
    return (folder / "said").read_text().splitlines()


def test_what_a_stage_needs_runs_before_it_and_nothing_else(folder):
    plain.run([folder], "judge", parallel=3)
    assert said(folder)[0] == "split"
    assert set(said(folder)[1:4]) == {"a 1", "b 2", "work/a guard1"}
    assert said(folder)[4:] == ["judge"]
    assert said(folder).index("a 1") < said(folder).index("work/a guard1")


def test_what_is_there_is_not_made_again(folder):
    plain.run([folder], "train", parallel=1)
    plain.run([folder], "judge", parallel=1)
    assert len(said(folder)) == 5


def test_a_stage_that_fails_ends_those_that_need_it_and_no_others(folder):
    (folder / "broken").touch()
    with pytest.raises(subprocess.CalledProcessError):
        plain.run([folder], "judge", parallel=1)
    assert sorted(said(folder)) == ["a 1", "b 2", "split"]


def test_no_more_than_so_many_run_at_a_time(folder, monkeypatch):
    running, most = [], []

    def run(command, **_):
        running.append(command)
        most.append(len(running))
        running.remove(command)

    monkeypatch.setattr(plain.subprocess, "run", run)
    plain.run([folder, folder], "judge", parallel=1)
    assert most == [1] * 10


@pytest.mark.parametrize("with_dvc", [False, True])
def test_a_stage_knows_whom_it_must_not_outlive(folder, with_dvc):
    (folder / "make.py").write_text("import os, pathlib; pathlib.Path('whom').write_text(os.environ['TUTELAGE_FLOW'])")
    if with_dvc:
        runs.python(folder, "make.py")
    else:
        plain.run([folder], "other", parallel=1)
    assert (folder / "whom").read_text() == str(os.getpid())


def test_unknown_stages_and_names_are_refused(folder):
    with pytest.raises(ValueError, match="no stage 'jugde'"):
        graph.needed(graph.stages(folder), "jugde")
    (folder / "params.yaml").write_text("round: 1")
    with pytest.raises(KeyError, match="rounds"):
        graph.stages(folder)


def test_the_stages_of_a_fold_are_those_that_its_table_needs(tmp_path):
    folds.furnish(tmp_path, folds.params(folds.ROOT / "docs/recipes/bccd.yaml", 0), dvc=False)
    order = graph.needed(graph.stages(tmp_path), "box_evaluate")
    commands = {stage.name: stage.command for stage in order}
    assert not (tmp_path / ".dvc").exists()
    assert commands["scenes_ingest"] == "python -m tasks scenes_ingest 'scenes' work/detection/ingest"
    assert shlex.split(commands["box_evaluate@candidate"])[5] == "work/detection/rounds/1/guard"
    assert {"detector@teacher", "detector@oracle", "box_student@1", "box_evaluate@baseline"} <= commands.keys()
    assert not {"fetch", "compose", "box_judge"} & commands.keys()
