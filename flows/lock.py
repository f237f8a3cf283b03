"""One flow at a time in a checkout: those that retrain wait for another, the rest say that it is there.

`dvc repro` by hand beside it is fine for the flow, whose stages wait for it. It waits for DVC's own lock with
`--wait-for-lock`, but never for data that a stage of the flow reads or writes.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

POLL = 1.0  # seconds between two looks at a lock that another flow has


class Busy(RuntimeError):
    """Another flow works in this checkout."""


@contextmanager
def alone(root: Path, run: str = "", patience: float = 0, told: Callable[[str], object] = print) -> Iterator[None]:
    """Holds the checkout for this process and its flow run. Raises Busy where another still has it after `patience`
    seconds; that it waits is `told` once."""
    path, ends, waits = root / ".tutelage/flow.lock", time.monotonic() + patience, False
    with ExitStack() as stack:
        while not _taken(stack, path, run):
            holder, _, other = path.read_text().strip().partition(" ")
            at_work = f"Process {holder}{f' ({other})' if other else ''} runs a flow in {root.resolve()}"
            if time.monotonic() >= ends:
                waited = f" It still does after {patience:g} s of waiting." if patience else ""
                raise Busy(
                    f"{at_work}, and two would train the same stages twice.{waited} "
                    f"Wait for it, stop it with `kill {holder}`, or work in a second checkout."
                )
            if not waits:
                told(f"{at_work}. This one begins after it, and fails if that takes more than {patience:g} s")
            waits = True
            time.sleep(POLL)
        yield


def _taken(stack: ExitStack, path: Path, run: str) -> bool:
    try:
        stack.enter_context(held(path, fcntl.LOCK_NB, run))
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(path: Path, flags: int = 0, run: str = "") -> Iterator[None]:
    """A lock that holds its owner's process id, and its flow run. The kernel lets go of it when that process ends,
    however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | flags)
        file.truncate(0)
        file.write(f"{os.getpid()} {run}".rstrip() + "\n")
        file.flush()
        yield


def forget_the_dead(root: Path) -> None:
    """Takes from DVC's record of who reads and writes what the processes that were killed.

    DVC does so itself, but believes in any process with that number: one that nobody has waited for, as in a container
    whose first process reaps no orphans, or one that has nothing to do with DVC, as after a restart of the container.
    """
    record = root / ".dvc/tmp/rwlock"
    if not record.exists():
        return
    with held(record.with_name("rwlock.lock")):  # as DVC does
        try:
            found = json.loads(record.read_text())
        except json.JSONDecodeError:
            return  # the first stage says what to do: DVC names the file
        writers = {path: info for path, info in found.get("write", {}).items() if _works(info)}
        readers = {path: [info for info in infos if _works(info)] for path, infos in found.get("read", {}).items()}
        alive = {"write": writers, "read": {path: infos for path, infos in readers.items() if infos}}
        if alive != found:
            record.write_text(json.dumps(alive))


def _works(info: dict[str, Any]) -> bool:
    """Whether the process lives and is the command that was written down, but for how Python was told of it."""
    try:
        process = psutil.Process(info["pid"])
        return process.status() != psutil.STATUS_ZOMBIE and info["cmd"].partition(" ")[2] in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # another user's, of which nothing is known
