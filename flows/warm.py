"""Stages of a flow begin in a moment: they are forks of a Python that has loaded torch. See tasks/warm.py."""

import logging
import os
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.child import Children, Failed, Stopped
from tasks.warm import VARIABLE

log = logging.getLogger(__name__)


@contextmanager
def warm(root: Path) -> Iterator[Children]:
    """The children of one flow run. Once `busy` is set a Python loads, and then stages in `root` are forks of it.

    One that is `loading` already serves them instead. Only on Linux: forks of a process that has loaded Apple's
    frameworks crash.
    """
    if VARIABLE in os.environ:
        with Children() as children:
            yield children
        return
    with tempfile.TemporaryDirectory(prefix="tutelage-") as folder:
        socket = Path(folder) / "warm"
        children = Children(**{VARIABLE: str(socket)})
        # A thread of its own, since Linux ends a child with the thread that started it.
        thread = threading.Thread(target=serve, args=(socket, root, children), daemon=True)
        if sys.platform == "linux":
            thread.start()
        try:
            with children:
                yield children
        finally:
            children.busy.set()
            if thread.is_alive():
                thread.join()


@contextmanager
def loading() -> Iterator[None]:
    """A Python loads for flows of this process and folder before they begin, where they have to wait anyway."""
    with warm(Path()) as children:
        children.busy.set()
        os.environ.update(children.variables)
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def serve(socket: Path, root: Path, children: Children) -> None:
    """Serve until the children are ended. Without it a stage takes seconds to begin, which is no reason to fail."""
    children.busy.wait()
    try:
        with children.running("tasks.warm", str(socket), root=root) as child:
            children.check(child, "tasks.warm", deque(child.stdout or (), maxlen=20))
    except Stopped:
        pass
    except Failed as error:
        log.warning("stages begin slowly: %s", error)
