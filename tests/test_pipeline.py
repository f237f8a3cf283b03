"""The real dvc.yaml on small files: `dvc repro` is reproducible, skips what has not changed and survives a kill.

Its stages are forks of a warm Python, as in a flow; `OWN` are then made again as processes of their own.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from project import ROOT, environment, make, with_dvc
from waiting import until

from tasks.warm import VARIABLE

# `report` is the last stage of the rounds; compression comes beside them and would double the time. DVC's cache of runs
# has nothing to give to a project that was never run, and asking it costs a quarter of the time.
REPRO = [sys.executable, "-m", "dvc", "repro", "--no-run-cache", "report"]
OWN = ("ingest", "teacher", "report")  # one that reads files, one that trains, one that writes pages
LONG = {"teacher__steps": 60}  # of a stage that is killed between its first step and its last

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def repro(root, env):
    return subprocess.run(REPRO, cwd=root, env=env, check=True, text=True, capture_output=True).stdout


def lock(root):
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"]


@pytest.fixture(scope="module")
def forks():
    """The environment of a DVC whose stages are forks."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "warm"
        command = [sys.executable, "-m", "tasks.warm", str(socket)]
        with subprocess.Popen(command, cwd=ROOT, env=environment()) as server:
            until(socket.exists, server)
            yield environment() | {VARIABLE: str(socket)}
            server.kill()


@pytest.fixture(scope="module")
def done(tmp_path_factory, forks):
    """A project after its first `dvc repro`."""
    root = with_dvc(make(tmp_path_factory.mktemp("one"), **LONG))
    repro(root, forks)
    return root


def test_another_run_killed_and_continued_has_an_equal_lock(done, forks, tmp_path):
    root = with_dvc(make(tmp_path, **LONG))
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(REPRO, cwd=root, env=forks, start_new_session=True, **silent) as process:
        until(lambda: any((root / ".tutelage/checkpoints").rglob("run.pt")), process)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (root / "work/teacher").exists(), "the teacher had ended before it was killed: give it more steps"
    finished = lock(root)
    said = repro(root, forks)
    for stage in finished:
        assert f"Running stage '{stage}'" not in said
    assert lock(root) == lock(done)


def test_stages_that_are_processes_of_their_own_write_the_same(done, tmp_path):
    root = shutil.copytree(done, tmp_path / "copy")
    shutil.rmtree(root / ".tutelage")
    dvc = [sys.executable, "-m", "dvc", "repro", "--no-run-cache", "--force", "--single-item", *OWN]
    said = subprocess.run(dvc, cwd=root, env=environment(), check=True, text=True, capture_output=True).stdout
    assert [line for line in said.splitlines() if line.startswith("Running")] == [f"Running stage '{n}':" for n in OWN]
    assert lock(root) == lock(done)


def test_it_ends_with_a_report_a_verdict_and_metrics(done):
    assert "supervised" in (done / "reports/summary.md").read_text()
    assert (done / "work/judge/model.safetensors").exists()
    page = (done / "reports/report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "metrics", "show"], cwd=done, env=environment(), check=True, text=True,
        capture_output=True,
    ).stdout  # fmt: skip
    assert "accuracy" in shown


def test_a_second_run_does_nothing(done, forks):
    before = (done / "dvc.lock").stat().st_mtime_ns
    started = time.monotonic()
    said = repro(done, forks)
    assert time.monotonic() - started < 15  # 5 s on an idle machine; the benchmark measures it
    assert "Data and pipelines are up to date" in said
    assert "Running stage" not in said
    assert (done / "dvc.lock").stat().st_mtime_ns == before


def test_a_changed_param_reruns_only_what_needs_it(done, forks):
    content = yaml.safe_load((done / "params.yaml").read_text())
    content["report"]["gallery"] = 5
    (done / "params.yaml").write_text(yaml.safe_dump(content))
    said = repro(done, forks)
    assert [line for line in said.splitlines() if line.startswith("Running stage")] == ["Running stage 'report':"]


def test_only_a_result_that_dvc_could_not_record_is_not_trained_again(done, forks, tmp_path):
    root = shutil.copytree(done, tmp_path / "copy")
    dvc = [sys.executable, "-m", "dvc", "repro", "--no-run-cache", "--force", "--single-item", "teacher"]

    piped = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}

    def began():
        return subprocess.Popen(dvc, cwd=root, env=forks, **piped)

    with began() as process, (root / ".dvc/tmp/lock").open("a") as held:
        until(lambda: any((root / ".tutelage/checkpoints").rglob("run.pt")), process)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "Unable to acquire lock" in process.communicate()[0]
    other = (root / "dvc.lock").read_text().replace(lock(root)["teacher"]["outs"][0]["md5"], "0" * 32 + ".dir")
    (root / "dvc.lock").write_text(other)  # what it had before code changed
    for continues in (True, False):
        with began() as process:
            assert ("teacher continues at step 60" in process.communicate()[0]) is continues
        assert lock(root)["teacher"] == lock(done)["teacher"]


def test_two_runs_at_once_in_one_checkout_lose_nothing(done, forks, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(done, root)
    for stage in ("teacher", "baseline"):
        shutil.rmtree(root / "work" / stage)
    dvc = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item"]
    runs = [
        subprocess.Popen([*dvc, stage], cwd=root, env=forks, stdout=subprocess.DEVNULL)
        for stage in ("teacher", "baseline")
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert all((root / "work" / stage / "model.safetensors").exists() for stage in ("teacher", "baseline"))
