"""Processes of their own: for what forks, and for what is killed.

What forks wants a new Python: a fork of pytest's would run at its end what other tests left to be run.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Found = TypeVar("Found")


def fresh(function: Callable[..., Found], *arguments: object) -> Found:
    """What a function of a module returns in a new Python. Prefect's threads, once started, do not survive a fork."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def killed(task: Callable[[], object]) -> int:
    """Run `task` in a fork of this process: the signal that ended it, negative."""
    child = os.fork()
    if not child:
        try:
            task()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
