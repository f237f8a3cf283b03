"""Stages that are forks of a Python which has loaded what they need."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import psutil
import pytest
from waiting import until

from tasks.warm import LOADED, VARIABLE

# `python -m tasks ACT` of a project of its own, whose stage says which process it is and whose fork.
STAGE = """
import os, sys, time
import tasks.late
from tasks.warm import handed_over
code = handed_over(sys.argv[1:])
if code is None:
    act, *rest = sys.argv[1:]
    loaded = "json.tool" in sys.modules
    print(os.getpid(), os.getppid(), tasks.late.VALUE, os.environ.get("MOOD"), loaded, *rest, flush=True)
    print(sys.argv[0], file=sys.stderr, flush=True)
    if act == "sleep":
        time.sleep(600)
    code = int(act)
sys.exit(code)
"""
SERVER = "import sys; from pathlib import Path; from tasks.warm import become, serve; "
SERVER += "become(serve(Path(sys.argv[1]), ['json.tool', 'made']))"

# What matplotlib does where it cannot write to HOME.
MADE = """
import atexit, shutil, tempfile
atexit.register(shutil.rmtree, tempfile.mkdtemp(prefix="made-"))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, pytestconfig):
    place = tmp_path_factory.mktemp("project")
    (place / "tasks").mkdir()
    for name in ("__init__.py", "warm.py"):
        shutil.copy(pytestconfig.rootpath / "tasks" / name, place / "tasks")
    (place / "tasks/__main__.py").write_text(STAGE)
    (place / "tasks/late.py").write_text("VALUE = 1")
    (place / "made.py").write_text(MADE)
    return place


# Its `os.fork` fails at the call of a number, counted by each process on from its parent's.
NO_MEMORY = """
import errno, itertools, os
fork, calls = os.fork, itertools.count(1)
def failing():
    if next(calls) == {number}:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")
    return fork()
os.fork = failing
"""


@contextmanager
def serving(place, socket, before=""):
    with subprocess.Popen([sys.executable, "-c", before + SERVER, str(socket)], cwd=place, env=environment()) as server:
        try:
            until(socket.exists)
            yield server.pid
        finally:
            server.kill()


@pytest.fixture(scope="module")
def served(place):
    with serving(place, place / "s") as server:
        yield server


def environment(**variables):
    return {**os.environ, "PYTHONPATH": "", **variables}


@contextmanager
def begun(place, *arguments, socket=None, **variables):
    """A stage as a shell starts it, and what it says first: its process number, its parent's and more."""
    command = [sys.executable, "-m", "tasks", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = environment(**{VARIABLE: str(place / "s") if socket is None else socket}, **variables)
    with subprocess.Popen(command, cwd=place, env=env, **streams) as process:
        try:
            said = process.stdout.readline().split()
            yield process, said
        finally:
            process.kill()


def test_a_stage_is_a_fork_with_the_streams_arguments_environment_and_exit_code_of_its_caller(place, served):
    with begun(place, "3", "a b", "ü", MOOD="good") as (process, said):
        assert process.wait(60) == 3
        assert said[2:] == ["1", "good", "True", "a", "b", "ü"]
        assert int(said[0]) != process.pid
        assert process.stderr.read() == f"{place / 'tasks/__main__.py'}\n"
    assert psutil.pid_exists(served)


def test_a_folder_that_a_library_makes_while_it_loads_stays_for_all_forks_and_goes_with_the_sockets(place, tmp_path):
    with serving(place, tmp_path / "s"):
        for _ in range(2):
            with begun(place, "0", socket=str(tmp_path / "s")) as (process, _):
                assert process.wait(60) == 0
                assert len(process.stderr.read().splitlines()) == 1
            assert len(list(tmp_path.glob("made-*"))) == 1


def test_our_code_is_found_in_the_callers_place_when_a_stage_begins(place, served, tmp_path):
    elsewhere = shutil.copytree(place / "tasks", tmp_path / "tasks").parent
    for value in ("elsewhere", "changed"):
        (elsewhere / "tasks/late.py").write_text(f"VALUE = {value!r}")
        with begun(elsewhere, "0", socket=str(place / "s")) as (process, said):
            assert process.wait(60) == 0
        assert said[2:5] == [value, "None", "True"]


@pytest.mark.parametrize("socket", ["", "nobody", 200 * "long"])
def test_without_a_server_a_stage_is_a_process_of_its_own(place, socket):
    with begun(place, "4", socket=socket and str(place / socket)) as (process, said):
        assert process.wait(60) == 4
        assert said[:2] == [str(process.pid), str(os.getpid())]


@pytest.mark.parametrize("call", [1, 2])  # of the Python that serves, of the attendant
def test_a_stage_that_cannot_be_forked_is_a_process_of_its_own_and_later_ones_are_forks(place, tmp_path, call):
    socket = tmp_path / "s"
    with serving(place, socket, NO_MEMORY.format(number=call)):
        for own in [True] * call + [False]:
            with begun(place, "5", socket=str(socket)) as (process, said):
                assert process.wait(60) == 5
                assert (said[0] == str(process.pid)) is own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_its_caller(place, served, number):
    with begun(place, "sleep") as (process, said):
        stage = psutil.Process(int(said[0]))
        process.send_signal(number)
        assert process.wait(60) == -number
        until(lambda: not stage.is_running() or stage.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_caller_ends_as_its_stage_did(place, served, number):
    with begun(place, "sleep") as (process, said):
        os.kill(int(said[0]), number)
        assert process.wait(60) == -number


def test_who_kills_the_process_between_them_ends_both(place, served):
    with begun(place, "sleep") as (process, said):
        stage = psutil.Process(int(said[0]))
        os.kill(int(said[1]), signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        until(lambda: not stage.is_running())


def test_what_is_loaded_before_a_fork_is_not_ours_and_starts_no_gpu():
    code = (
        "import torch, importlib, sys; asked = []; torch._C._cuda_getDeviceCount = lambda: asked.append(1) or 0\n"
        f"for name in {LOADED!r}: importlib.import_module(name)\n"
        "print(asked, torch.cuda.is_initialized(), {'tasks', 'tutelage'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert found.stdout == "[] False set()\n"
