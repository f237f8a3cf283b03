"""Stages of a flow that are forks of a Python which has loaded torch."""

import os
import re
import signal
from pathlib import Path

import psutil
import pytest
from toy import Server, Toy, living, runs_of, started, story, works
from waiting import until

from flows.warm import loading, warm
from tasks.warm import VARIABLE

pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).resolve().parents[2]

LOADED = "colorsys"  # in torch's place, which takes seconds

# `python -m tasks OUT HOW`: begins as a stage of ours does, says in OUT whether torch's stand-in was there before it.
STAGE = f"""
import os, sys, time
from pathlib import Path
from tasks.begin import _die_with_flow
from tasks.warm import handed_over

socket = os.environ.get("{VARIABLE}")  # of a fork: none
_die_with_flow()
code = handed_over(sys.argv[1:])
if code is None:
    out, how = sys.argv[1:]
    Path(out + ".new").write_text(str(os.getppid()))
    os.rename(out + ".new", out + ".began")
    while how == "waits" and socket and not os.path.exists(socket):
        time.sleep(0.1)
    while how == "sleeps" or how == "asks" and not os.path.exists(out + ".may"):
        time.sleep(0.1)
    Path(out).write_text(str("{LOADED}" in sys.modules))
sys.exit(code)
"""


@pytest.fixture
def ours(toy: Toy) -> Toy:
    """Two stages: one that is there until the warm Python is, and one after it."""
    (toy.root / "tasks").mkdir()
    for name, to in (("__init__", "__init__"), ("__main__", "begin"), ("warm", "warm"), ("closed_pipe", "closed_pipe")):
        code = (ROOT / f"tasks/{name}.py").read_text()
        quick = re.sub(r"LOADED = \([^)]*\)", f"LOADED = ({LOADED!r},)", code)
        (toy.root / f"tasks/{to}.py").write_text(quick)
    (toy.root / "tasks/__main__.py").write_text(STAGE)
    return toy


def stages(toy: Toy, how: str) -> None:
    toy.stages(
        a={"cmd": "python -m tasks a waits", "outs": ["a"]},
        b={"cmd": f"python -m tasks b {how}", "deps": ["a"], "outs": ["b"]},
    )


def test_stages_are_forks_as_soon_as_the_warm_python_has_loaded(ours: Toy) -> None:
    stages(ours, "ends")
    state = story(ours.root, [["b"]], return_state=True)
    assert runs_of(state.state_details.flow_run_id) == {"a": "Completed", "b": "Completed"}
    assert (ours.root / "b").read_text() == "True"
    until(lambda: not living(ours.root))


def test_a_python_that_loads_before_the_flow_serves_all_of_its_stages(
    ours: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages(ours, "ends")
    monkeypatch.chdir(ours.root)
    with loading():
        until(Path(os.environ[VARIABLE]).exists)
        with warm(ours.root) as children:
            assert children.variables == {}  # no second Python is asked for
        story(ours.root, [["a"]])
        assert (ours.root / "a").read_text() == "True"
        story(ours.root, [["b"]])
        assert (ours.root / "b").read_text() == "True"
    assert VARIABLE not in os.environ
    monkeypatch.chdir(ROOT)  # this process is none that lives on
    until(lambda: not living(ours.root))


def test_no_fork_outlives_its_flow(server: Server, ours: Toy) -> None:
    stages(ours, "sleeps")
    with started(ours, "b") as flow:
        until(lambda: works(ours, "b"), flow)
        flow.send_signal(signal.SIGKILL)
        until(lambda: not living(ours.root), seconds=120)
    assert not (ours.root / "b").exists()


def test_a_fork_goes_on_without_the_python_that_it_is_a_fork_of(server: Server, ours: Toy) -> None:
    stages(ours, "asks")
    with started(ours, "b") as flow:
        until(lambda: works(ours, "b"), flow)
        attendant = int((ours.root / "b.began").read_text())
        python = psutil.Process(attendant).parent()
        assert python is not None
        python.kill()
        until(lambda: psutil.Process(attendant).ppid() != python.pid, flow)
        (ours.root / "b.may").touch()
        assert flow.wait(120) == 0
    assert (ours.root / "b").read_text() == "True"
