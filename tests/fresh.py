"""Processes of their own: for what forks, and for what is killed.

What forks wants a new Python: a fork of pytest's would run at its end what other tests left to be run.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

Found = TypeVar("Found")
CALL = """
import pathlib, pickle, sys
path, sys.path[:] = pathlib.Path(sys.argv[1]), sys.argv[2:]
function, arguments = pickle.loads(path.read_bytes())
path.write_bytes(pickle.dumps(function(*arguments)))
"""


def fresh(function: Callable[..., Found], *arguments: object) -> Found:
    """What a function of a module returns in a new Python. Prefect's threads, once started, do not survive a fork.

    It is a plain process, for those that multiprocessing spawns would spawn in turn: seconds for each loader.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "call"
        path.write_bytes(pickle.dumps((function, arguments)))
        subprocess.run([sys.executable, "-c", CALL, str(path), *sys.path], check=True)
        found: Found = pickle.loads(path.read_bytes())
    return found


def killed(task: Callable[[], object]) -> int:
    """Run `task` in a fork of this process: the signal that ended it, negative."""
    child = os.fork()
    if not child:
        try:
            task()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
