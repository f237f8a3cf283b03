"""One place for settings, and a server only where none answers."""

import os
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from prefect import get_client
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings
from toy import Server

from flows import server as at_hand
from flows import ui
from flows.adapt import adapt
from flows.child import Child, Failed
from flows.server import (
    FIRST_PORT,
    OWN,
    address,
    answers,
    free_port,
    listens,
    main_of,
    own,
    running,
    serving,
    start,
    start_own,
)
from tasks.warm import VARIABLE

ROOT = Path(__file__).resolve().parents[2]


def test_flows_use_the_server_that_answers(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as url:
        assert url == server.url
        assert VARIABLE not in os.environ  # nothing has to be waited for, so nothing loads that may not be wanted
    assert ui.main() == 0
    assert server.url.removesuffix("/api") in capsys.readouterr().out


def test_a_python_loads_while_a_server_starts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    @contextmanager
    def loading() -> Iterator[None]:
        seen.append("loads")
        yield
        seen.append("ended")

    monkeypatch.setattr(at_hand, "loading", loading)
    monkeypatch.setattr(at_hand, "start_own", lambda home: seen.append("starts") or address(1))
    with temporary_settings({PREFECT_API_URL: address(free_port(15500))}), serving():
        assert seen == ["loads", "starts"]
    assert seen[2:] == ["ended"]


def test_the_server_of_another_person_at_this_machine_is_not_joined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    """It would keep the pictures in that person's database."""
    monkeypatch.setattr(at_hand, "answers", lambda _: True)
    monkeypatch.setattr(at_hand, "loading", nullcontext)
    monkeypatch.setattr(at_hand, "start_own", lambda _: address(1))
    with socket.create_server(("127.0.0.1", 0)) as there:
        taken = there.getsockname()[1]
        monkeypatch.setattr(at_hand, "FIRST_PORT", taken)
        with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
            with serving() as url:
                assert url == running() == address(taken)
            monkeypatch.setattr(os, "getuid", lambda: -1)
            with serving() as url:
                assert url == address(1)
            assert running() is None
        with temporary_settings({PREFECT_API_URL: address(taken)}), serving() as url:
            assert url == address(taken)  # whoever names it wants it


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://prefect.invalid:4200/api", "which does not answer"),
        ("http://127.0.0.1:port/api", "port/api, which is no URL"),
    ],
)
def test_an_address_elsewhere_or_nowhere_is_not_replaced(server: Server, url: str, told: str) -> None:
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(Failed, match=told),
        serving(),
    ):
        pass


@pytest.mark.parametrize(("body", "prefect"), [(b"true", True), (b"<html>", False), (b"{}", False), (b"\xff", False)])
def test_what_answers_here_is_prefect_and_no_proxy_is_asked(
    monkeypatch: pytest.MonkeyPatch, body: bytes, prefect: bool
) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("HTTP_PROXY", address(free_port(15600)))  # where nothing listens
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Page) as other:
        Thread(target=other.handle_request, daemon=True).start()
        assert answers(address(other.server_port)) is prefect


def test_prefect_asks_no_proxy_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", address(free_port(15600)))
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("no_proxy", "")  # which is read first
    with serving(), get_client(sync_client=True) as client:
        assert client.api_healthcheck() is None
    assert os.environ["NO_PROXY"] == "example.org,127.0.0.1,localhost"


@pytest.fixture
def sleeping() -> Iterator[Child]:
    with subprocess.Popen(["sleep", "600"], text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("another", [False, True])  # server answers at its address
def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeping: Child, another: bool
) -> None:
    monkeypatch.setattr(at_hand, "bound", lambda *_, **__: sleeping)
    monkeypatch.setattr(at_hand, "answers", lambda _: another)
    monkeypatch.setattr(at_hand, "DEADLINE", 0)
    url = address(free_port(15600))
    with pytest.raises(
        Failed, match=f"{url} does not answer after 0 s, see {tmp_path / 'server.log'}. Set PREFECT_API"
    ):
        start(url, tmp_path)


def test_a_server_of_another_checkout_that_was_faster_keeps_its_port(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeping: Child
) -> None:
    assert listens(server.process.pid, server.url)
    assert not listens(sleeping.pid, server.url)
    first, tried = FIRST_PORT + 1, list[str]()

    def start(url: str, home: Path) -> Child:
        tried.append(url)
        if url == address(first):
            raise Failed("address in use")
        return sleeping

    monkeypatch.setattr(at_hand, "start", start)
    monkeypatch.setattr(at_hand, "free_port", lambda least: least + len(tried))
    monkeypatch.setattr(at_hand, "answers", lambda url: url == address(first))
    assert start_own(tmp_path) == address(first + 1)
    assert tried == [address(first), address(first + 1)]


def test_pages_of_a_flow_that_runs_are_those_of_its_own_server(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sleeping: Child
) -> None:
    monkeypatch.setattr(at_hand, "start", lambda url, home: server.process)
    monkeypatch.setattr(at_hand, "free_port", lambda least: int(server.url.removesuffix("/api").rpartition(":")[2]))
    start_own(server.home)
    try:
        with temporary_settings({PREFECT_API_URL: address(free_port(15000))}):
            assert ui.main() == 0
        assert server.url.removesuffix("/api") in capsys.readouterr().out
        for written in (f"{server.url} {sleeping.pid}", server.url):  # the port has gone to another checkout's server
            (server.home / OWN).write_text(written)
            assert own(server.home) is None
    finally:
        (server.home / OWN).unlink()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:port/api"}):
        assert ui.main() == 1
    assert "is no URL" in capsys.readouterr().err


def test_pages_are_told_where_their_api_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    started = {}
    monkeypatch.setattr(os, "execve", lambda _, command, variables: started.update(variables))
    with temporary_settings({PREFECT_API_URL: address(free_port(15000))}):
        ui.main()
    port = started["PREFECT_SERVER_API_PORT"]
    assert started["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert started["PREFECT_UI_API_URL"] == started["PREFECT_API_URL"] == f"http://127.0.0.1:{port}/api"


def test_nothing_phones_home_and_nothing_listens_beyond_this_machine() -> None:
    assert PREFECT_SERVER_ANALYTICS_ENABLED.value() is False
    assert os.environ["DO_NOT_TRACK"] == os.environ["DVC_NO_ANALYTICS"] == "1"
    settings = tomllib.loads((ROOT / "prefect.toml").read_text())
    assert settings["server"]["api"]["host"] == "127.0.0.1"
    assert "analytics = false" in (ROOT / ".dvc/config").read_text()


def test_runs_do_not_stay_in_the_database_for_ever() -> None:
    settings = tomllib.loads((ROOT / "prefect.toml").read_text())
    vacuum = ServerServicesDBVacuumSettings(**settings["server"]["services"]["db_vacuum"])
    assert vacuum.enabled_vacuum_types >= {"events", "flow_runs"}
    assert vacuum.retention_period.days == 90  # as docs/orchestration.md says


def test_deployments_are_flows_that_exist_and_of_the_schedules_only_retrains_is_awake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)  # entrypoints are relative
    written = (ROOT / "prefect.yaml").read_text()
    assert str(ROOT) not in written
    deployments = {
        f"{load_flow_from_entrypoint(item['entrypoint']).name}/{item['name']}": item
        for item in yaml.safe_load(written)["deployments"]
    }
    assert deployments.keys() == {"expand/by-hand", "retrain/nightly", "retrain-detector/nightly"}
    assert "schedules" not in deployments["expand/by-hand"]
    for name, awake in (("retrain/nightly", True), ("retrain-detector/nightly", False)):
        assert deployments[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert [each.get("active", True) for each in deployments[name]["schedules"]] == [awake]


@pytest.mark.parametrize(("code", "said"), [(0, "\nall is well\n"), (130, "")])
def test_what_was_made_is_told_only_where_a_flow_ended_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["flows.adapt", "--workers", "3"])
    monkeypatch.setattr(at_hand, "by_hand", lambda story: code)
    assert main_of(adapt, lambda: "all is well") == code
    assert capsys.readouterr().out == said
