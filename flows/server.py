"""A Prefect server on this machine, for flows that a person starts by hand."""

import argparse
import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from prefect import Flow
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.child import GRACE, Child, Failed, bound
from flows.lock import Busy, held
from flows.warm import loading
from tasks.closed_pipe import quiet

FIRST_PORT = 4200


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
    print(f"\n{told()}")
    return 0


def by_hand(story: Callable[[], object]) -> int:
    """Runs a flow to its end and returns an exit code. Starts a server when none answers, for as long as it takes."""
    try:
        with serving():
            story()
    except (Failed, Busy, ValueError) as error:
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
    url = PREFECT_API_URL.value() or address(FIRST_PORT)
    with ExitStack() as beside:
        with held(PREFECT_HOME.value() / "server.lock"):  # two that start at once would both create the database
            if not answers(url):
                if httpx.URL(url).host not in ("127.0.0.1", "localhost"):
                    advice = "Unset it to use a server of our own."
                    raise Failed(f"PREFECT_API_URL is {url}, which does not answer. {advice}")
                url = address(free_port())
                beside.enter_context(loading())  # a server takes seconds to start, and one core
                start(url, PREFECT_HOME.value())
        print(f"Prefect: {url.removesuffix('/api')}", flush=True)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url


def start(url: str, home: Path) -> Child:
    """A server of `home`'s runs, which ends after this process has told it all."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    with log.open("w") as output:
        command = ("-m", "prefect", "server", "start")
        server = bound(*command, root=Path(), output=output, **variables(url, home))
    atexit.register(stop, server)
    while not answers(url):
        if server.poll() is not None:
            raise Failed(f"`prefect server start` ended with {server.returncode}:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)
    return server


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
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def free_port(first: int = FIRST_PORT) -> int:
    """The first port from `first` on that nothing listens to."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise Failed(f"ports {first} to {first + 99} are all taken")
