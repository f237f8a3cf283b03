"""One stage of dvc.yaml as one Prefect task run."""

import re
from collections import deque
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import httpx
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.states import Completed
from prefect.tasks import Task

from flows.artifacts import Shown
from flows.child import Children, Failed, Limit, Stopped
from flows.dag import Stage
from flows.lock import POLL, forget_the_dead

PROGRESS = re.compile(r"@progress (\d*\.?\d+) ?(.*)")
BUSY = " is busy, it is being blocked by:"  # how DVC says that another process works on data of the stage
OURS = "> python -m tasks "  # how DVC announces a command that may be a fork of a warm Python
ADVICE = ("To track the changes with git", "To enable auto staging", "Use `dvc push`", "\tgit add", "\tdvc config")


def may_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Not while the flow is being ended: a child that was ended looks like one that failed."""
    return not isinstance(state.data, Stopped)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_retry)
def run_stage(stage: Stage, root: Path, children: Children, gpus: int, niceness: int) -> State[None] | None:
    """Bring `stage` up to date, and nothing else. Ends Completed, or Cached when DVC had nothing to run."""
    shown = Shown(stage.name)
    before = (root / stage.name).read_bytes() if stage.source else b""
    with slots(gpus):
        ran = reproduce_one(stage, root, children, shown, niceness)
    if stage.source:
        ran = (root / stage.name).read_bytes() != before
    if stage.report and (root / stage.report).exists():
        shown.report(root / stage.report)
    return None if ran else Completed(name="Cached", message="DVC: nothing that it reads has changed")


def reproduce_one(stage: Stage, root: Path, children: Children, shown: Shown, niceness: int) -> bool:
    """`dvc repro` of one stage. False when DVC skipped it.

    DVC's lock is waited for, before the stage and again after it, so that another process that holds it never costs a
    finished stage. DVC does not wait for data that another one works on, so that is tried until it is free.
    """
    last = deque[str](maxlen=20)
    while (ran := attempt(stage, root, children, shown, niceness, last)) is None:
        forget_the_dead(root)
        sleep(POLL)
    return ran


def attempt(
    stage: Stage, root: Path, children: Children, shown: Shown, niceness: int, last: deque[str]
) -> bool | None:  # fmt: skip
    """Whether DVC ran the stage; None where it did not because another one works on its data.

    `last` gets the last lines; what it holds of an attempt before is not logged again. The timeout counts and ends the
    stage's command alone: it cannot hit one that waits to be committed. Only the command is nice: DVC, which holds
    locks that other stages wait for, is not.
    """
    ran, before = False, tuple(last)
    last.clear()
    command = ("dvc", "--wait-for-lock", "repro", "--single-item", stage.name)
    with children.running(*command, root=root, TUTELAGE_NICE=str(niceness)) as child:
        assert child.stdout is not None
        limit = Limit(child, stage.policy.timeout)
        for line in map(str.rstrip, child.stdout):
            if line.startswith("Running stage"):
                ran = True
                limit.start()
            if line.startswith(OURS):
                children.busy.set()
            if tell(line, shown, before):
                last.append(line)
        limit.cancel()
        try:
            children.check(child, stage.name, last)
        except Failed as error:
            if limit.passed:
                raise TimeoutError(f"{stage.name} was ended after {stage.policy.timeout:g} s") from error
            if ran or BUSY not in "\n".join(last):
                raise
            return None
    return ran


def tell(line: str, shown: Shown, before: Container[str]) -> bool:
    """Shows a line of a stage as progress, or else logs it unless it was `before`. Whether it is one to log."""
    if progress := PROGRESS.fullmatch(line):
        shown.progress(float(progress[1]), progress[2])
        return False
    said = bool(line) and not line.startswith(ADVICE)
    if said and line not in before:
        get_run_logger().info(line)
    return said


@contextmanager
def slots(gpus: int) -> Iterator[None]:
    """Holds slots of the global limit `gpu`. The limit is advice: without a server to ask, work goes on."""
    held = ExitStack()
    try:
        held.enter_context(concurrency("gpu" if gpus else [], occupy=gpus, lease_duration=60))
    except ConcurrencySlotAcquisitionError as error:
        get_run_logger().warning("goes on without a gpu slot: %s", error)
    try:
        yield
    finally:
        try:
            held.close()
        except httpx.HTTPError as error:
            get_run_logger().warning("the gpu slot is free again in a minute, Prefect's server says %r", error)
