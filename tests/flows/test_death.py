"""Whatever dies, no child outlives its flow and no finished stage is lost."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from toy import Server, Toy, living, runs_of, started, step, story, works
from waiting import until

from flows import lock
from flows.child import Failed
from flows.lock import Busy, alone

pytestmark = pytest.mark.timeout(900)  # on a busy machine a flow takes a minute to start


def test_no_child_outlives_a_flow_and_the_next_one_goes_on(server: Server, empty: Path, tmp_path: Path) -> None:
    toys, flows = {}, {}
    with ExitStack() as stack:
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):  # Ctrl-C, cancel, out of memory
            toys[kind] = Toy(Path(shutil.copytree(empty, tmp_path / kind.name)))
            toys[kind].stages(a=step("a"), b=step("b", "a", seconds=600, retries=3, retry_delay=0))
            flows[kind] = stack.enter_context(started(toys[kind], "b"))
        for kind, toy in toys.items():
            until(lambda toy=toy: works(toy, "b"), flows[kind])
            flows[kind].send_signal(kind)
        for kind, toy in toys.items():
            until(lambda toy=toy: not living(toy.root), seconds=120)  # the stage itself would take 600
            printed, _ = flows[kind].communicate(timeout=120)
            assert flows[kind].returncode != 0, printed
    toy = toys[signal.SIGKILL]
    toy.stages(a=step("a"), b=step("b", "a"))
    again = story(toy.root, [["b"]], return_state=True)
    assert runs_of(again.state_details.flow_run_id) == {"a": "Cached", "b": "Completed"}


def test_a_server_that_goes_away_costs_no_stage(server: Server, toy: Toy) -> None:
    toy.stages(a=step("a", seconds=3) | {"meta": {}}, b={"cmd": "cp a b", "deps": ["a"], "outs": ["b"]})
    with started(toy, "b", PREFECT_CLIENT_MAX_RETRIES="0") as flow:  # five would take minutes
        try:
            until(lambda: works(toy, "a"), flow)
            server.kill()
            printed, _ = flow.communicate(timeout=120)
        finally:
            server.come_back()
    assert flow.returncode == 1
    assert "No finished stage is lost" in printed
    assert toy.dvc("status", "--json").strip() == "{}"
    again = story(toy.root, [["b"]], return_state=True)
    assert runs_of(again.state_details.flow_run_id) == {"a": "Cached", "b": "Cached"}


def test_a_second_flow_says_who_is_at_work(toy: Toy) -> None:
    toy.stages(a=step("a"))
    with alone(toy.root), pytest.raises(Busy, match=f"Process {os.getpid()} runs a flow"):
        story(toy.root, [["a"]])
    with alone(toy.root):
        pass


def test_a_flow_that_may_wait_begins_when_the_other_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "POLL", 0.01)
    told: list[str] = []
    other = ExitStack()
    other.enter_context(alone(tmp_path, "expand, run shy-newt"))
    at_work = rf"Process {os.getpid()} \(expand, run shy-newt\) runs a flow"
    with pytest.raises(Busy, match=f"{at_work}.*It still does after 0.05 s of waiting"):
        alone(tmp_path, patience=0.05, told=told.append).__enter__()
    threading.Timer(0.2, other.close).start()
    with alone(tmp_path, patience=60, told=told.append):
        assert len(told) == 2  # once each
        assert re.match(f"{at_work}.*begins after it, and fails if that takes more than 60 s", told[1])
    assert (tmp_path / ".tutelage/flow.lock").read_text() == f"{os.getpid()}\n"


def test_stages_of_a_killed_run_are_not_busy_for_ever(toy: Toy) -> None:
    toy.stages(a=step("a"))
    command = "dvc/__main__.py --wait-for-lock repro --single-item a"
    with subprocess.Popen([sys.executable, "-c", "", *command.split()[1:]]) as unreaped:
        until(lambda: psutil.Process(unreaped.pid).status() == psutil.STATUS_ZOMBIE)
        stale = {"write": {str(toy.root / "a"): {"pid": unreaped.pid, "cmd": command}}}
        stale["read"] = {str(toy.root / "a.md"): [{"pid": os.getpid(), "cmd": command}]}  # alive, but it is not DVC
        record = toy.root / ".dvc/tmp/rwlock"
        record.write_text(json.dumps(stale))
        state = story(toy.root, [["a"]], return_state=True)
    assert runs_of(state.state_details.flow_run_id) == {"a": "Completed"}


def test_a_stage_that_another_dvc_works_on_is_begun_when_that_has_ended(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.stages(a=step("a"))
    arguments = "repro --single-item a"
    sleeps = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)", *arguments.split()]
    with ExitStack() as stack:
        other = stack.enter_context(subprocess.Popen(sleeps, stdout=subprocess.PIPE, text=True))
        stack.callback(other.kill)
        assert other.stdout is not None
        other.stdout.readline()
        info = {"pid": other.pid, "cmd": f"dvc/__main__.py {arguments}"}
        (toy.root / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {str(toy.root / "a"): info}}))
        monkeypatch.setattr("flows.stage.sleep", lambda _: other.kill() or other.wait())
        state = story(toy.root, [["a"]], return_state=True)
        assert other.poll() is not None, "it was not waited for"
    assert runs_of(state.state_details.flow_run_id) == {"a": "Completed"}


def test_a_record_that_was_cut_off_is_left_to_dvc_which_names_it(toy: Toy) -> None:
    toy.stages(a=step("a"))
    (toy.root / ".dvc/tmp/rwlock").write_text('{"write": {')
    with pytest.raises(Failed, match="rwlock"):
        story(toy.root, [["a"]])
