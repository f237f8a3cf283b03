"""Repositories whose stages take a moment, and a real Prefect server that may be killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter

from flows.child import Child
from flows.production import take_in_new_images
from flows.reproduce import checkout
from flows.server import address, free_port, start

# A stage: `python step.py OUT SECONDS IN...`. It dies with its flow as tasks/__main__.py does; needs our packages.
STEP = """
import os, sys, time
import psutil
from pathlib import Path
from tasks.__main__ import _die_with_flow, _give_way

_die_with_flow()
_give_way()
out, seconds, *inputs = sys.argv[1:]
began = time.time()
Path(out + ".began").write_text(str(os.nice(0)))
print(f"@progress 0.5 {out}", flush=True)
time.sleep(float(seconds))
print("hello from", out, flush=True)
Path(out + ".md").write_text(f"# Report of {out}\\n")
Path(out).write_text(out + "".join(Path(name).read_text() for name in inputs))
with open("times", "a") as times:
    times.write(f"{out} {began} {time.time()}\\n")
"""

# What a shell without job control starts in the background ignores SIGINT, and so does all that it starts.
FLOW = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
FLOW += "from pathlib import Path; from toy import story; from flows.server import by_hand; import sys; "
FLOW += "sys.exit(by_hand(lambda: story(Path(sys.argv[1]), [sys.argv[2:]])))"


class Server:
    """A real server that a test may kill and bring back."""

    def __init__(self, home: Path) -> None:
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        self.home, self.url = home, address(free_port(14200 + 100 * worker))  # two that look at once find the same one
        self.process: Child = start(self.url, home)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def come_back(self) -> None:
        self.process = start(self.url, self.home)


class Toy:
    """A repository with a dvc.yaml of toy stages."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def stages(self, **stages: dict[str, Any]) -> None:
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))

    def dvc(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=self.root, text=True, capture_output=True, check=True).stdout

    def niceness(self, stage: str) -> int:
        return int((self.root / f"{stage}.began").read_text())

    def times(self) -> dict[str, tuple[float, float]]:
        rows = [line.split() for line in (self.root / "times").read_text().splitlines()]
        return {name: (float(began), float(ended)) for name, began, ended in rows}


def step(out: str, *inputs: str, seconds: float = 0, **prefect: Any) -> dict[str, Any]:
    """A stage that writes `out`."""
    return {
        "cmd": f"python step.py {out} {seconds} {' '.join(inputs)}",
        "deps": list(inputs),
        "outs": [out, f"{out}.md"],
        "meta": {"report": f"{out}.md", "prefect": prefect},
    }


@flow
def story(root: Path, milestones: list[list[str]], update: bool = False) -> None:
    with checkout(root) as reproduce:
        if update:
            take_in_new_images(reproduce)
        for names in milestones:
            reproduce(*names)


@contextmanager
def started(toy: Toy, *milestones: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A flow in a process of its own, as `python -m flows.expand` is."""
    command = [sys.executable, "-c", FLOW, str(toy.root), *milestones]
    env = os.environ | {"SHELL": "/bin/sh"} | variables  # a shell that stays between DVC and a stage
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as flow:
        try:
            yield flow
        finally:
            flow.kill()


def works(toy: Toy, stage: str) -> bool:
    """Whether the command of `stage` itself runs."""
    return (toy.root / f"{stage}.began").exists()


def runs_of(flow_run: Any) -> dict[str, str]:
    """The state of each task run of a flow run, by name, once the server has heard of their ends."""
    with get_client(sync_client=True) as client:
        for _ in range(100):
            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [flow_run]}))
            if all(run.state and run.state.is_final() for run in found):
                break
            time.sleep(0.1)
    return {run.name: str(run.state_name) for run in found}


def living(root: Path) -> list[str]:
    """Command lines of processes that work in a repository."""
    found = []
    for process in psutil.process_iter(["pid", "cwd", "cmdline", "status"]):
        if process.info["cwd"] == str(root) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(" ".join(process.info["cmdline"] or ()))  # None: it has ended since its folder was read
    return found
