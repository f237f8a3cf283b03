"""A Python that has loaded what takes long to load, so that `python -m tasks VERB` of a dvc.yaml may be a fork of it.

A stage of a small project takes seconds to start and a moment to run. What is loaded before is other people's code and
what every stage loads first, params; a fork still loads its own verb, and fails where that cannot be. DVC sees no
difference: `python` on its PATH is `CALLER`.

`python -m warm SOCKET VERB...` serves until it is ended. A fork works in the folder of its caller, on the caller's
streams. The first stage of each of the verbs starts as anyone's does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

OWN = b"own"  # an answer: start a process of your own
CALLER = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    told = json.dumps([os.getcwd(), *sys.argv[1:]]).encode()
    socket.send_fds(server, [told], [0, 1, 2])
    answer = server.recv(16)
if answer == {own!r}:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
sys.exit(int(answer or 70))  # no answer: the fork was killed
"""


class Warm(NamedTuple):
    environment: dict[str, str]  # of a DVC whose stages are forks
    server: int  # process number of their parent


@contextmanager
def warm(folder: Path, root: Path, environment: dict[str, str], own: Iterable[str]) -> Iterator[Warm]:
    """Serves the code in `root`. The first stage of each verb in `own` is a process of its own.

    `folder` gets the caller and the socket; its path must be short (Linux allows 107 bytes).
    """
    path = folder / "socket"
    (folder / "python").write_text(CALLER.format(python=sys.executable, path=str(path), own=OWN))
    (folder / "python").chmod(0o755)
    code = os.pathsep.join(str(place) for place in (root, root / "src", Path(__file__).parent))
    command = [sys.executable, "-m", "warm", str(path), *own]
    with subprocess.Popen(command, cwd=root, env=environment | {"PYTHONPATH": code}) as server:
        try:
            while not path.exists():
                assert server.poll() is None, "the server has ended"
                time.sleep(0.05)
            yield Warm(environment | {"PATH": f"{folder}{os.pathsep}{environment['PATH']}"}, server.pid)
        finally:
            server.kill()


def serve(path: Path, own: set[str]) -> None:
    import albumentations  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import scipy.special  # noqa: F401
    import timm  # noqa: F401

    import tasks.params  # noqa: F401
    from tasks.__main__ import main

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody has to wait for a fork
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        while True:
            caller, _ = door.accept()
            said, streams, *_ = socket.recv_fds(caller, 1 << 16, 3)
            place, module, name, *arguments = json.loads(said)
            assert (module, name) == ("-m", "tasks")
            if arguments[0] in own:
                own.remove(arguments[0])
                caller.send(OWN)
            elif not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                os.chdir(place)
                code = main(arguments)
                sys.stdout.flush()
                caller.send(str(code).encode())
                sys.exit(code)
            caller.close()
            for stream in streams:
                os.close(stream)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), set(sys.argv[2:]))
