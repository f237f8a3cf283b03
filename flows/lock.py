"""One flow at a time in a checkout. `dvc repro` beside it is fine: stages wait for DVC's own lock."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


class Busy(RuntimeError):
    """Another flow works in this checkout."""


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Holds the checkout for this process. Raises Busy."""
    path = root / ".tutelage/flow.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path, fcntl.LOCK_NB))
        except BlockingIOError:
            holder = path.read_text().strip()
            raise Busy(
                f"Process {holder} runs a flow in {root.resolve()}, and two would train the same stages twice. "
                f"Wait for it, stop it with `kill {holder}`, or work in a second checkout."
            ) from None
        yield


@contextmanager
def held(path: Path, flags: int = 0) -> Iterator[None]:
    """A lock that holds its owner's process id. The kernel lets go of it when that process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | flags)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
