"""Processes of their own: for what forks, and for what is killed."""

import os
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from typing import TypeVar

import jaxtyping
import torch

Found = TypeVar("Found")
ASK, ANSWER = Pipe()  # with who forks for `fresh`


def begin() -> None:
    """Fork who forks for `fresh`, before a test has run. Prefect's threads, once started, do not survive a fork, and a
    fork of pytest's would run at its end what other tests left to be run. Where the session's fixtures are made anew,
    as benchmarks/mutations.py has them for each file, the first one serves on.
    """
    if not ANSWER.closed:
        _begun(_serve)
        ANSWER.close()


def fresh(function: Callable[..., Found], *arguments: object) -> Found:
    """What a function of a module returns in a process that knows nothing of other tests."""
    ASK.send((function, *arguments))
    answer: list[Found] = ASK.recv()
    assert answer, "it ended with the error that it printed"
    return answer[0]


def _serve() -> None:
    ASK.close()
    with suppress(EOFError, KeyboardInterrupt):  # pytest has ended
        while True:
            if killed(partial(_answer, *ANSWER.recv())):
                ANSWER.send([])


def _answer(function: Callable[..., object], *arguments: object) -> None:
    ANSWER.send([function(*arguments)])


def killed(task: Callable[[], object]) -> int:
    """Run `task` in a fork of this process: the signal that ended it, negative."""
    return _end(_begun(task))


def ranks(task: Callable[[int], object], count: int = 2) -> None:
    """Run `task(rank)` in forks of this process that torch.distributed joins on the CPU (gloo): all must end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def joined(rank: int) -> None:
        places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true", **places}
        jaxtyping.config.update("jaxtyping_disable", True)  # what wraps a network for gloo is not of its type
        torch.distributed.init_process_group("gloo", rank=rank, world_size=count)
        task(rank)
        torch.distributed.destroy_process_group()

    children = [_begun(lambda rank=rank: joined(rank)) for rank in range(count)]
    assert [_end(child) for child in children] == [0] * count


def _begun(task: Callable[[], object]) -> int:
    """A fork that runs `task` and ends: with 1 after an error, which it prints."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        task()
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
