"""A Python that has loaded what takes seconds to load, and whose forks are the stages of a flow.

    python -m tasks.warm SOCKET

A short stage that is a process of its own spends most of its time on importing torch. Loaded before is other people's
code alone: a stage loads ours when it begins, so what runs is what DVC has hashed. `python -m tasks VERB` hands itself
over where TUTELAGE_WARM names a socket that is served, and waits: it looks to DVC and to a shell as it always does, and
whoever ends it ends its stage.

    python -m tasks VERB --- socket --- attendant (a fork) --- stage (its fork)
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

VARIABLE = "TUTELAGE_WARM"
GRACE = 5.0  # seconds between the request to end and the kill
LOADED = (
    "torch", "torch.utils.data", "torch.optim.swa_utils", "torchvision.ops", "torchvision.models.detection",
    "accelerate", "timm", "albumentations", "cv2", "PIL.Image", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet",
    "scipy.optimize", "scipy.special", "scipy.stats", "matplotlib.figure", "pycocotools.cocoeval", "pydantic", "yaml",
)  # fmt: skip
NO_GPU = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}  # counts GPUs without starting CUDA, which would not survive a fork


def handed_over(arguments: list[str]) -> int | None:
    """Runs `python -m tasks ARGUMENTS` as a fork of the Python that serves. Its exit code; None where nobody serves."""
    path = os.environ.pop(VARIABLE, None)
    if not path or not os.path.exists(path):  # it still loads, or could not
        return None
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):  # it was ended
            return None
        begun = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(server, [b"\n"], [0, 1, 2])
            server.sendall(json.dumps([os.getcwd(), dict(os.environ), arguments]).encode() + b"\n")
            begun = server.recv(1)
        if not begun:  # there is no memory for a fork
            return None
        answer = server.recv(16)
    code = int(answer or -signal.SIGKILL)  # no answer: the attendant was killed, and its stage with it
    if code < 0:
        end_by(-code)
    return code


def end_by(number: int) -> None:
    """This process ends by a signal, as its stage did."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class Asked(NamedTuple):
    """What `python -m tasks` was started with."""

    place: str
    variables: dict[str, str]
    arguments: list[str]
    streams: list[int]


def serve(path: Path, loaded: Sequence[str] = LOADED) -> Asked:
    """Load, then fork for whoever asks at `path`, a socket, until this process is ended. Returns in each fork alone."""
    os.environ.update(NO_GPU)
    tempfile.tempdir = str(path.parent)  # a folder that matplotlib makes where it cannot write to HOME goes with ours
    for name in loaded:
        importlib.import_module(name)
    tempfile.tempdir = None
    atexit.unregister(shutil.rmtree)  # the first fork to end would take that folder from the others
    gc.collect()
    gc.freeze()  # what is loaded stays where forks share it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody has to wait for an attendant
    with socket.socket(socket.AF_UNIX) as door:
        early = path.with_suffix(".early")
        door.bind(str(early))
        door.listen()
        early.rename(path)  # whoever sees it may connect
        while True:
            caller, _ = door.accept()
            try:
                attendant = not os.fork()
            except OSError as error:
                print(f"a stage begins slowly: no fork for it: {error}", file=sys.stderr)
                attendant = False
            if attendant:
                door.close()
                return attend(caller)
            caller.close()


def attend(caller: socket.socket) -> Asked:
    """A child is the stage, and there this returns. It ends with its caller, who is told its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, *_ = socket.recv_fds(caller, 1, 3)
    with caller.makefile("rb") as said:
        place, variables, arguments = json.loads(said.readline())
    attendant, stage = os.getpid(), os.fork()
    if not stage:
        caller.close()
        end_with(attendant)
        return Asked(place, variables, arguments, streams)
    caller.sendall(b"+")
    threading.Thread(target=end_without, args=(caller, stage), daemon=True).start()
    _, status = os.waitpid(stage, 0)
    with suppress(BrokenPipeError):
        caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)  # the libraries' own farewells are the stage's


def end_with(parent: int) -> None:
    """Linux kills this process when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def end_without(caller: socket.socket, stage: int) -> None:
    """The stage ends when the caller has gone: it says nothing more before."""
    with suppress(ConnectionResetError):
        caller.recv(1)
    with suppress(ProcessLookupError):
        os.kill(stage, signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(stage, signal.SIGKILL)


def become(asked: Asked) -> None:
    """This process is `python -m tasks ARGUMENTS` of the caller from here on."""
    for number, stream in enumerate(asked.streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked.place)
    os.environ.clear()
    os.environ.update(asked.variables)
    sys.path[0] = asked.place
    sys.argv[1:] = asked.arguments
    for name in [name for name in sys.modules if name.partition(".")[0] == "tasks"]:
        del sys.modules[name]  # all of ours is found in the caller's place, and now
    title = " ".join(["tasks", *asked.arguments[:1]])
    ctypes.CDLL(None).prctl(15, title.encode(), 0, 0, 0)  # its name in `top`
    runpy.run_module("tasks", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    become(serve(Path(sys.argv[1])))
