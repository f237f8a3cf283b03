"""The five lines of docs/orchestration.md: a scheduled run by a worker, and what a person sees of it in a browser."""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.objects import FlowRun
from toy import Server, Toy, runs_of, step

from benchmarks.screenshots import NoBrowser, picture
from flows.child import bound, descendants, end

pytestmark = pytest.mark.browser

PAGE = (Path(__file__).parents[2] / "docs/orchestration.md").read_text()

FLOW = """
from prefect import flow
from flows.reproduce import checkout

@flow
def retrain():
    with checkout() as reproduce:
        reproduce("judge")
"""
DEPLOYMENT = {
    "name": "nightly",
    "entrypoint": "retrain.py:retrain",
    "work_pool": {"name": "local"},
    "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
    "schedules": [{"slug": "soon", "interval": 5}],
}
GREEN = (33, 157, 75)  # a completed task run in Prefect's graph


def lines() -> list[list[str]]:
    """What the page has a person type for Prefect, but for the limit of GPUs."""
    typed = re.findall(r"^    \.venv/bin/prefect (.*)", PAGE, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in typed if "gcl" not in line]


@pytest.fixture
def finished(server: Server, toy: Toy, tmp_path: Path) -> Iterator[FlowRun]:
    """A run that the schedule made and a worker carried out."""
    toy.stages(student=step("student"), guard=step("guard", "student"), judge=step("judge", "guard"))
    (toy.root / "retrain.py").write_text(FLOW)
    (toy.root / "prefect.yaml").write_text(yaml.safe_dump({"name": "toy", "deployments": [DEPLOYMENT]}))
    *before, work = lines()
    assert ["--no-prompt", "deploy", "--all"] in before  # in a terminal Prefect would ask for a clone to run in
    for line in before:
        subprocess.run([sys.executable, "-m", "prefect", *line], cwd=toy.root, check=True, capture_output=True)
    with (tmp_path / "worker.log").open("w") as log:
        worker = bound("-m", "prefect", *work, root=toy.root, output=log, PREFECT_WORKER_QUERY_SECONDS="1")
    try:
        yield first_completed()
    finally:
        below = descendants(worker)  # runs of the schedule; asked to end, it would wait ten seconds for nothing
        worker.kill()
        worker.wait()
        end(below)


def first_completed() -> FlowRun:
    state = FlowRunFilterState(name={"any_": ["Completed", "Failed", "Crashed"]})
    with get_client(sync_client=True) as client:
        ends = time.monotonic() + 90
        while time.monotonic() < ends:
            runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state, deployment_id={"is_null_": False}))
            if runs:
                return runs[0]
            time.sleep(0.5)
    raise AssertionError("no scheduled run has ended")


def test_a_scheduled_run_completes_and_is_seen(server: Server, finished: FlowRun, tmp_path: Path) -> None:
    assert (finished.state_name, finished.auto_scheduled) == ("Completed", True)
    assert set(runs_of(finished.id)) == {"student", "guard", "judge"}
    pages = server.url.removesuffix("/api")
    graph, report = tmp_path / "graph.png", tmp_path / "report.png"

    def shows_the_graph(page: str) -> bool:
        bars = colours(graph, (270, 110, 1370, 480)).get(GREEN, 0)  # pixels of three task runs
        return finished.name in page and "Completed" in page and bars > 1000

    assert appears(f"{pages}/runs/flow-run/{finished.id}", graph, shows_the_graph)

    with get_client(sync_client=True) as client:
        which = ArtifactFilter(flow_run_id={"any_": [finished.id]}, key={"any_": ["report-judge"]})
        [artifact] = client.read_artifacts(artifact_filter=which)

    def shows_the_report(page: str) -> bool:
        return "Report of judge" in page and len(colours(report, (0, 0, 1400, 1000))) > 50

    assert appears(f"{pages}/artifacts/artifact/{artifact.id}", report, shows_the_report)


def appears(url: str, png: Path, good: Callable[[str], bool]) -> bool:
    """Whether a browser comes to show a page; it may be caught while it still fades in."""
    try:
        return any(good(picture(url, png)) for _ in range(5))
    except NoBrowser as error:
        pytest.skip(str(error))


def colours(png: Path, box: tuple[int, int, int, int]) -> dict[tuple[int, ...], int]:
    """How many pixels of a part of a picture have each colour."""
    counted = Image.open(png).convert("RGB").crop(box).getcolors(1 << 24)
    return {colour: number for number, colour in counted}
