"""A Prefect server on this machine, for flows that a person starts by hand."""

import argparse
import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from prefect import Flow
from prefect.exceptions import Abort
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.child import GRACE, Child, Failed, bound
from flows.lock import Busy, held
from flows.warm import loading
from tasks.closed_pipe import quiet
from tasks.text import as_typed

FIRST_PORT = 4200  # of a server that stays: flows of any checkout look there, so none may end with one of them
OWN = "server.url"  # in PREFECT_HOME: where the server of a flow answers, or did, and the number of its process
LOCAL = ("127.0.0.1", "localhost")
DEADLINE = 120.0  # seconds in which a server has to answer


def command_line(story: Flow[..., Any]) -> argparse.ArgumentParser:
    """What `python -m flows.NAME` takes for a flow of this name that runs stages side by side: --workers."""
    module = story.name.replace("-", "_")
    parser = argparse.ArgumentParser(prog=f"python -m flows.{module}", description=story.description)
    parser.add_argument("--workers", type=int, default=2, help="stages that may run side by side (default: 2)")
    return parser


@quiet
def main_of(story: Flow[..., Any], told: Callable[[], str]) -> int:
    """`python -m flows.NAME`: runs the flow to its end, then prints what `told` reads of its files. An exit code."""
    workers = command_line(story).parse_args().workers
    if failed := by_hand(lambda: story(workers=workers)):
        return failed
    print(f"\n{as_typed(told())}")
    return 0


def by_hand(story: Callable[[], object]) -> int:
    """Runs a flow to its end and returns an exit code. Starts a server when none answers, for as long as it takes."""
    try:
        with serving():
            story()
    except (Failed, Busy, ValueError, Abort) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Finished stages are kept: run the same command again and it continues.", file=sys.stderr)
        return 130
    except httpx.TransportError as error:
        print(
            f"Prefect's server went away ({error}), so its record of this run has a gap. No finished stage is lost: "
            "run the same command again and it continues.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # an ordinary exit tries for minutes to tell the server
    return 0


@contextmanager
def serving() -> Iterator[str]:
    """The API that this process's flows talk to: the one in Prefect's settings where it answers, else our own."""
    url = named()
    if local(url):
        pass_by_proxies()
    with ExitStack() as beside:
        with held(PREFECT_HOME.value() / "server.lock"):  # two that start at once would both create the database
            if not joined(url):
                if not local(url):
                    advice = "Unset it to use a server of our own."
                    raise Failed(f"PREFECT_API_URL is {url}, which does not answer. {advice}")
                beside.enter_context(loading())  # a server takes seconds to start, and one core
                url = start_own(PREFECT_HOME.value())
        print(f"Prefect: {url.removesuffix('/api')}", flush=True)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url


def named() -> str:
    """The API that Prefect's settings name, whether it answers or not."""
    return PREFECT_API_URL.value() or address(FIRST_PORT)


def running() -> str | None:
    """The API that is named, where flows join it; else that of a flow's own server of this checkout, if one runs."""
    return url if joined(url := named()) else own(PREFECT_HOME.value())


def joined(url: str) -> bool:
    """Whether flows tell the server at `url` of their runs: one that is named, or this user's. On a machine of many it
    may be another person's that answers, whose database would keep the pictures."""
    return answers(url) and (PREFECT_API_URL.value() is not None or of_this_user(url))


def of_this_user(url: str) -> bool:
    """Whether it is a process of this user that answers at `url`."""
    processes = [each for each in psutil.process_iter(["uids"]) if each.info["uids"]]
    return any(each.info["uids"].real == os.getuid() and at_port(each, url) for each in processes)


def local(url: str) -> bool:
    """Whether a server at `url` is on this machine. Raises Failed where `url` is none."""
    try:
        return httpx.URL(url).host in LOCAL
    except httpx.InvalidURL as error:
        raise Failed(
            f"PREFECT_API_URL is {url}, which is no URL: {error}. Unset it to use a server of our own."
        ) from None


def pass_by_proxies() -> None:
    """What this process asks of this machine goes through no proxy, whose errors Prefect takes for a busy server's."""
    for name in ("NO_PROXY", "no_proxy"):
        known = [place for place in os.environ.get(name, "").split(",") if place]
        os.environ[name] = ",".join([*known, *(place for place in LOCAL if place not in known)])


def start_own(home: Path) -> str:
    """Starts a server at a free port, which ends with this process, and returns its URL."""
    while True:
        url = address(free_port(FIRST_PORT + 1))
        try:
            server = start(url, home)
        except Failed:
            if not answers(url):
                raise
            continue  # a server of another checkout, started at the same moment, has taken the port
        (home / OWN).write_text(f"{url} {server.pid}")
        return url


def own(home: Path) -> str | None:
    """Where the server of a flow of this checkout answers. Its port may be another's by now, of another checkout."""
    if not (home / OWN).exists():
        return None
    url, _, process = (home / OWN).read_text().partition(" ")
    return url if process and listens(int(process), url) and answers(url) else None


def start(url: str, home: Path) -> Child:
    """A server of `home`'s runs, which ends after this process has told it all."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    with log.open("w") as output:
        command = ("-m", "prefect", "server", "start")
        server = bound(*command, root=Path(), output=output, **variables(url, home))
    atexit.register(stop, server)
    deadline = time.monotonic() + DEADLINE
    while not (answers(url) and listens(server.pid, url)):
        if server.poll() is not None:
            raise Failed(f"`prefect server start` ended with {server.returncode}:\n{log.read_text()[-2000:]}")
        if time.monotonic() > deadline:
            advice = "Set PREFECT_API_URL to a server that runs, as `make ui` starts one, to go on without it."
            raise Failed(f"Prefect's server at {url} does not answer after {DEADLINE:g} s, see {log}. {advice}")
        time.sleep(0.2)
    return server


def listens(server: int, url: str) -> bool:
    """Whether it is this process, or one below it, that answers at `url`, and not one that took the port."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(server)
        return any(at_port(process, url) for process in (top, *top.children(recursive=True)))
    return False


def at_port(process: psutil.Process, url: str) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # another user's is none of ours
        ends = process.net_connections("tcp")
        return any(end.status == psutil.CONN_LISTEN and end.laddr.port == httpx.URL(url).port for end in ends)
    return False


def stop(server: Child) -> None:
    server.terminate()
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def variables(url: str, home: Path) -> dict[str, str]:
    """Settings of a server at `url`. A port alone gives pages that ask a wrong address: PREFECT_UI_API_URL."""
    place = httpx.URL(url)
    return {
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_SERVER_API_HOST": place.host,
        "PREFECT_SERVER_API_PORT": str(place.port),
        "PREFECT_API_URL": url,
        "PREFECT_UI_API_URL": url,
    }


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def answers(url: str) -> bool:
    """Whether a Prefect server does: its health is `true`, any other's pages are not."""
    try:
        said = httpx.get(f"{url}/health", timeout=5, trust_env=not local(url))
        return said.is_success and said.json() is True
    except (httpx.TransportError, ValueError):
        return False


def free_port(first: int = FIRST_PORT) -> int:
    """The first port from `first` on that nothing listens to."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise Failed(f"ports {first} to {first + 99} are all taken")
