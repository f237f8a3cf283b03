"""Child processes that end with this one, whatever ends it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

GRACE = 10.0  # seconds between the request to end and the kill

# Asks Linux to be ended together with the thread that started it, then becomes the command: the request survives exec.
# Not a `preexec_fn`: that runs Python between fork and exec of a process with threads, which can deadlock.
BOUND = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that wanted this has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""

Child = subprocess.Popen[str]


class Failed(RuntimeError):
    """A command failed. The message holds its last lines."""


class Stopped(Failed):
    """The flow is being ended: no retry may start another child."""


class Children:
    """The living children of one flow run. Leaving the `with` block, however that happens, ends them."""

    def __init__(self, **variables: str) -> None:
        self.busy = threading.Event()  # a stage has something to do
        self.variables = variables  # of their environment
        self._alive: set[Child] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @contextmanager
    def running(self, *arguments: str, root: Path, **variables: str) -> Iterator[Child]:
        """`python -m ARGUMENTS` in `root`, its output one stream of lines. Ended when the block is left before it.

        `variables` are added to its environment.
        """
        with self._lock:
            if self._stopped:
                raise Stopped(f"{' '.join(arguments)} was not started: the flow is being ended")
            child = bound("-m", *arguments, root=root, output=subprocess.PIPE, **self.variables, **variables)
            self._alive.add(child)
        try:
            yield child
        finally:
            end_all([child])
            self._alive.discard(child)
            if child.stdout:
                child.stdout.close()

    def check(self, child: Child, name: str, last: Iterable[str]) -> None:
        """Wait for a child whose output has ended. Raises Failed, with its last lines, when it did."""
        if code := child.wait():
            kind = Stopped if self._stopped else Failed
            told = "".join(f"\n  {line}" for line in last)
            raise kind(f"{name} ended with exit code {code}. Its last lines:{told}")

    def run(self, *arguments: str, root: Path) -> str:
        """`python -m ARGUMENTS` in `root`, to its end. Returns what it printed, raises Failed."""
        with self.running(*arguments, root=root) as child:
            printed, _ = child.communicate()
            self.check(child, " ".join(arguments), printed.splitlines()[-20:])
        return printed

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopped = True
            alive = list(self._alive)
        end_all(alive)


class Limit:
    """Ends what a child has started once that has run for `seconds`; never the child itself."""

    def __init__(self, child: Child, seconds: float | None) -> None:
        self.passed = False
        self._child = child
        self._timer = threading.Timer(seconds, self._expire) if seconds else None

    def start(self) -> None:
        if self._timer:
            self._timer.start()

    def cancel(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _expire(self) -> None:
        command = descendants(self._child)
        self.passed = bool(command)
        end(command)


def bound(*arguments: str, root: Path, output: int | IO[str] = subprocess.PIPE, **variables: str) -> Child:
    """`python ARGUMENTS` in a session of its own (Ctrl-C is for the flow to handle), ended with the calling thread."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"  # of dvc.yaml's `python`
    ours = {"PATH": path, "PYTHONUNBUFFERED": "1", "TUTELAGE_FLOW": str(os.getpid())}
    return subprocess.Popen(
        [sys.executable, "-ISc", BOUND, str(os.getpid()), sys.executable, *arguments],
        cwd=root,
        env=os.environ | variables | ours,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def end_all(children: Iterable[Child]) -> None:
    """End children that still run, and what they have started."""
    alive = [(child, descendants(child)) for child in children if child.poll() is None]
    for child, _ in alive:
        child.terminate()
    end(process for _, below in alive for process in below)
    for child, _ in alive:
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
        child.kill()


def descendants(child: Child) -> list[psutil.Process]:
    """What a child has started and still lives."""
    try:
        return psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end(processes: Iterable[psutil.Process]) -> None:
    """Ask, wait, kill. Not for children of this process: psutil would take their exit codes away."""
    asked = list(processes)
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(asked, timeout=GRACE)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
