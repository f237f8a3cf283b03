"""How a stage begins."""

import os
import subprocess
import sys

import pytest

STAGE = "from tasks.__main__ import _die_with_parent; _die_with_parent(); print('works')"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a stage with its flow")


def begin(root, flow: int) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"TUTELAGE_DIE_WITH_PARENT": str(flow)}
    return subprocess.run([sys.executable, "-c", STAGE], cwd=root, env=env, text=True, capture_output=True)


def test_a_stage_whose_flow_lives_works(pytestconfig):
    assert begin(pytestconfig.rootpath, os.getpid()).stdout == "works\n"


def test_a_stage_whose_flow_died_before_linux_was_asked_ends_at_once(pytestconfig):
    with subprocess.Popen([sys.executable, "-c", ""]) as flow:
        flow.wait()
    found = begin(pytestconfig.rootpath, flow.pid)
    assert found.returncode == 1
    assert "the flow that wanted this stage has ended" in found.stderr
