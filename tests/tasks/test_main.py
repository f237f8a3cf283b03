"""How a stage begins."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from io import BytesIO, TextIOWrapper

import psutil
import pytest
from own_images import save

from tasks.__main__ import main

STAGE = "from tasks.__main__ import _die_with_flow; _die_with_flow(); print('works')"


def begin(root, flow: int) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"TUTELAGE_FLOW": str(flow)}
    return subprocess.run([sys.executable, "-c", STAGE], cwd=root, env=env, text=True, capture_output=True)


def test_a_stage_whose_flow_lives_works(pytestconfig):
    assert begin(pytestconfig.rootpath, os.getpid()).stdout == "works\n"


def test_a_stage_whose_flow_has_ended_ends_at_once(pytestconfig):
    with subprocess.Popen([sys.executable, "-c", ""]) as flow:
        flow.wait()
    found = begin(pytestconfig.rootpath, flow.pid)
    assert found.returncode == 1
    assert "the flow that wanted this stage has ended" in found.stderr


def test_a_stage_is_as_nice_as_its_flow_wants(pytestconfig):
    begun = "import atexit, os, runpy; atexit.register(lambda: print(os.nice(0))); "
    begun += "runpy.run_module('tasks', run_name='__main__')"
    env = os.environ | {"TUTELAGE_NICE": "3"}
    command = [sys.executable, "-c", begun, "lineage", "--help"]
    said = subprocess.check_output(command, cwd=pytestconfig.rootpath, env=env, text=True)
    assert said.splitlines()[-1] == str(min(19, os.nice(0) + 3))


@pytest.mark.parametrize("dies", ["flow", "dvc"])
def test_a_stage_ends_with_its_flow_and_with_dvc_although_a_shell_between_them_stays(pytestconfig, dies):
    stage = f"{STAGE}; import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    flow = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    dvc = "import os, subprocess, sys; print(os.getpid(), flush=True); subprocess.run(['sh', '-c', sys.argv[1]])"
    shell = f'TUTELAGE_FLOW=$FLOW {sys.executable} -c "{stage}"; true'
    begun = [sys.executable, "-c", f"import os; os.environ['FLOW'] = str(os.getpid()); {flow}", dvc, shell]
    with subprocess.Popen(begun, cwd=pytestconfig.rootpath, stdout=subprocess.PIPE, text=True) as process:
        between, works, there = (process.stdout.readline().strip() for _ in range(3))
        assert works == "works"
        os.kill({"flow": process.pid, "dvc": int(between)}[dies], signal.SIGKILL)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(there)).wait(60)  # it would sleep for 600
        process.kill()
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(between)).kill()


def test_params_and_stages_load_without_what_takes_seconds_to_import(pytestconfig):
    """Each stage is a process of its own, and draws, fits or trains less than its module could."""
    slow = {"torchvision", "timm", "albumentations", "scipy", "matplotlib"}
    code = (
        f"import sys, tasks.params; print({slow} & set(sys.modules)); "
        "import tasks.split, tasks.student, tasks.calibrate, tasks.pseudo_label, tasks.guard, tasks.judge; "
        f"print({slow - {'scipy'} | {'scipy.stats', 'scipy.optimize'}} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=pytestconfig.rootpath, text=True, capture_output=True)
    assert found.stdout == "set()\nset()\n", found.stderr


def test_a_name_that_is_not_utf8_is_shown_and_ends_nothing(tmp_path, pytestconfig, monkeypatch):
    shutil.copy(pytestconfig.rootpath / "params.yaml", tmp_path)
    for place, name in enumerate(("cat", "dog")):
        save(tmp_path / "mine/train" / name / f"{place}.png", place)
    os.rename(tmp_path / "mine/train/dog/1.png", os.fsencode(tmp_path / "mine") + b"/caf\xe9.png")
    save(tmp_path / "mine/train/dog/1.png", 2)
    monkeypatch.chdir(tmp_path)
    told = TextIOWrapper(BytesIO(), "utf-8", "strict")
    with redirect_stdout(told):
        assert main(["init", "mine"]) == 0
    told.seek(0)
    assert r"left out: 1 image(s) such as mine/caf\udce9.png" in told.read()
