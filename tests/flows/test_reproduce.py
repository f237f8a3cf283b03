"""Toy stages through real DVC and a real server."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.exceptions import Abort
from prefect.runtime import flow_run
from prefect.states import Cancelling
from toy import Server, Toy, living, runs_of, step, story

from flows.child import Failed
from flows.reproduce import LATER, checkout


def test_runs_each_stage_once_side_by_side_then_finds_all_cached(toy: Toy) -> None:
    toy.stages(a=step("a"), b=step("b", "a", seconds=1.5), c=step("c", "a", seconds=1.5))
    state = story(toy.root, [["a"], ["b", "c"], ["c"]], return_state=True)
    assert state.is_completed()
    assert runs_of(state.state_details.flow_run_id) == dict.fromkeys("abc", "Completed")
    times = toy.times()
    assert max(times["b"][0], times["c"][0]) < min(times["b"][1], times["c"][1])
    assert shown(state.state_details.flow_run_id) == sorted(["progress", "markdown"] * 3)
    assert toy.dvc("status", "--json").strip() == "{}"

    again = story(toy.root, [["b", "c"]], return_state=True)
    assert runs_of(again.state_details.flow_run_id) == dict.fromkeys("abc", "Cached")
    assert toy.times() == times


def shown(flow_run: object) -> list[str]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id={"any_": [flow_run]}))
    return sorted(str(artifact.type) for artifact in found)


def test_retries_where_the_policy_says_so(toy: Toy) -> None:
    once = "test -e tried && echo fine > a || { touch tried; echo no network; exit 1; }"
    toy.stages(a={"cmd": once, "outs": ["a"], "meta": {"prefect": {"retries": 1, "retry_delay": 0}}})
    assert story(toy.root, [["a"]], return_state=True).is_completed()


def test_a_failure_names_the_stage_and_its_last_lines_and_stops_the_rest(toy: Toy) -> None:
    broken = {"cmd": "echo out of luck; exit 3", "outs": ["a"]}
    toy.stages(a=broken, b=step("b", seconds=2), c=step("c", "b"))
    with pytest.raises(Failed, match=r"(?s)a ended with exit code.*out of luck"):
        story(toy.root, [["a", "c"]])
    assert set(toy.times()) == {"b"}  # what ran may finish, nothing new is started


def test_an_unknown_milestone_is_named(toy: Toy) -> None:
    toy.stages(a=step("a"))
    with pytest.raises(ValueError, match=r"'b' is not a stage of dvc\.yaml; there are: a"):
        story(toy.root, [["b"]])


def test_what_runs_beside_a_story_gets_the_workers_and_the_processor_that_it_leaves_free(toy: Toy) -> None:
    toy.stages(slow=step("slow", seconds=4), a=step("a"), b=step("b", "a"))
    during(toy.root)
    usual = os.nice(0)
    assert [toy.niceness(name) for name in ("slow", "a", "b")] == [min(19, usual + LATER), usual, usual]
    times = toy.times()
    assert times["slow"][0] < times["b"][0]
    assert times["b"][1] < times["slow"][1]


@flow
def during(root: Path) -> None:
    with checkout(root) as reproduce:
        with reproduce.beside("slow", "b"):
            reproduce("a")
            reproduce("b")
        assert (root / "slow").exists()


def test_a_run_by_hand_that_somebody_cancels_begins_nothing_more(toy: Toy) -> None:
    runs: list[UUID] = []

    @flow
    def cancelled() -> None:
        runs.append(UUID(flow_run.id))
        with checkout(toy.root) as reproduce, get_client(sync_client=True) as client:
            reproduce("a")
            client.set_flow_run_state(runs[0], Cancelling())
            reproduce("b")

    toy.stages(a=step("a"), b=step("b", "a"))
    with pytest.raises(Abort, match="Somebody has cancelled this run"):
        cancelled()
    assert set(toy.times()) == {"a"}
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(runs[0]).state
    assert state is not None
    assert state.is_cancelled()


@pytest.fixture
def one_gpu(server: Server) -> Iterator[None]:
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("gpu", 1)
        yield
        client.delete_global_concurrency_limit_by_name("gpu")


def test_two_stages_never_share_a_gpu(one_gpu: None, toy: Toy) -> None:
    toy.stages(a=step("a", seconds=1, gpu=1), b=step("b", seconds=1, gpu=1))
    assert story(toy.root, [["a", "b"]], return_state=True).is_completed()
    (_, first_ended), (second_began, _) = sorted(toy.times().values())
    assert first_ended < second_began


def test_timeout_ends_the_command_and_its_children(toy: Toy) -> None:
    toy.stages(a=step("a", seconds=600, timeout=1))
    began = time.monotonic()
    state = story(toy.root, [["a"]], return_state=True)
    assert state.is_failed()
    assert "after 1 s" in str(state.message)
    assert time.monotonic() - began < 30
    assert not living(toy.root)


def test_a_finished_stage_survives_a_lock_held_by_another_process_and_its_timeout(toy: Toy) -> None:
    toy.stages(a=step("a", seconds=0.5, timeout=2))
    with holding_dvc_lock(toy.root, when="times", seconds=4):
        state = story(toy.root, [["a"]], return_state=True)
    assert state.is_completed()
    assert toy.dvc("status", "--json").strip() == "{}"
    assert len((toy.root / "times").read_text().splitlines()) == 1


@contextlib.contextmanager
def holding_dvc_lock(root: Path, when: str, seconds: float) -> Iterator[None]:
    """DVC's lock is in another process's hands for a while, from the moment that a file appears."""
    code = f"""
import os, time
from dvc.lock import make_lock
while not os.path.exists({when!r}): time.sleep(0.01)
with make_lock(".dvc/tmp/lock", tmp_dir=".dvc/tmp", wait=True): time.sleep({seconds})
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=root) as holder:
        yield
        assert holder.wait(30) == 0
