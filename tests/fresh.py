"""Processes of their own: for what forks, and for what is killed.

What forks wants a new Python: a fork of pytest's would run at its end what other tests left to be run.
"""

import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import jaxtyping
import torch

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
