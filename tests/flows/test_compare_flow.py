"""The flow over a small project: real methods, a real server, no DVC. What would be child processes is run here."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter
from project import PREPARE, TEACHER, make, run
from toy import Server, runs_of

from flows import compare as story
from flows.child import Failed
from flows.reproduce import Reproduce
from tasks.compare import main

INPUTS = ("work/split", "work/teacher")


@pytest.fixture
def project(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make(tmp_path, compare__methods=["kd", "adamatch"], compare__steps=2, compare__seeds=[0]))
    assert run(*PREPARE, TEACHER) == [0] * 4
    monkeypatch.setattr(Reproduce, "run", here)
    Path("dvc.yaml").write_text("stages: {}")  # no stage of it is asked for
    return tmp_path


def here(_: Reproduce, module: str, *arguments: str) -> str:
    """As `python -m MODULE ARGUMENTS`, without seconds of imports."""
    assert module == "tasks.compare"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if main(*arguments):
            raise Failed(printed.getvalue())
    return printed.getvalue()


def test_one_task_run_a_method_then_the_table_and_finished_ones_are_kept(project: Path) -> None:
    state = story.compare(INPUTS, return_state=True)
    runs = runs_of(state.state_details.flow_run_id)
    assert runs == dict.fromkeys(("supervised", "kd", "adamatch", "show"), "Completed")
    rows = json.loads(Path("work/compare/compare.json").read_text())["rows"]
    assert {row["name"] for row in rows} == {"supervised", "kd", "adamatch"}
    with get_client(sync_client=True) as client:
        asked = ArtifactFilter(flow_run_id={"any_": [state.state_details.flow_run_id]})
        (artifact,) = client.read_artifacts(artifact_filter=asked)
    assert artifact.key == "compare"
    assert "# Methods compared" in str(artifact.data)

    results = Path("work/compare/results")
    before = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    (results / "kd-0.json").write_text("{}")  # as if its run had been cut off under other settings
    assert story.compare(INPUTS, return_state=True).is_completed()
    after = {path.name: path.stat().st_mtime_ns for path in results.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"kd-0.json"}


def test_a_method_that_breaks_is_named_and_the_table_made_of_the_others(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(reproduce: Reproduce, *arguments: str) -> str:
        if arguments[1:3] == ("one", "kd"):
            raise Failed("out of memory")
        return here(reproduce, *arguments)

    monkeypatch.setattr(Reproduce, "run", breaking)
    state = story.compare(INPUTS, return_state=True)
    assert state.is_failed()
    assert "not all methods finished: kd" in str(state.message)
    rows = {row["name"]: row for row in json.loads(Path("work/compare/compare.json").read_text())["rows"]}
    assert rows["adamatch"]["gain"]
    assert rows["kd"]["note"] == "0 of 1 seeds are finished"
