"""A process of its own for what forks: a fork of pytest's would run at its end what other tests left to be run."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Found = TypeVar("Found")


def fresh(function: Callable[..., Found], *arguments: object) -> Found:
    """What a function of a module returns in a new Python. Prefect's threads, once started, do not survive a fork."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
