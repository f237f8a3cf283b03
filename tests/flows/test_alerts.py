"""Who is told of the scheduled flows, by a real server."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import UUID

import pytest
from prefect import Flow, flow, get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import State
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.states import Completed, Failed
from pydantic import SecretStr
from toy import Server
from waiting import until

from flows import alerts
from flows.alerts import MESSAGES, install
from flows.child import Failed as Refused
from flows.production import tell_promotion
from flows.retrain import CLASSIFIER, announce

TOLD = {"kind": "appearance", "images": 12, "advice": "Adapt.", "answer": None}


class Inbox(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Letterbox)
        self.letters = list[dict[str, str]]()

    def waits_for(self, number: int) -> list[str]:
        """Subjects and first lines, in alphabetical order, once each: Prefect sends again what it is not sure of."""
        ends = time.monotonic() + 120
        while len(told := self.told()) < number and time.monotonic() < ends:
            time.sleep(0.1)
        return sorted(told)

    def told(self) -> set[str]:
        return {f"{each['subject']} | {each['body'].splitlines()[0]}" for each in self.letters}


class Letterbox(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        self.server.letters.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def inbox(server: Server) -> Iterator[Inbox]:
    with Inbox() as inbox:
        Thread(target=inbox.serve_forever, daemon=True).start()
        content = {"subject": "{{subject}}", "body": "{{body}}"}
        url = f"http://127.0.0.1:{inbox.server_port}"
        block = CustomWebhookNotificationBlock(name="team", url=url, json_data=content, headers=None, cookies=None)
        block.save("team", overwrite=True)
        yield inbox
        inbox.shutdown()
    with get_client(sync_client=True) as client:  # other tests of this server have a `retrain`, too
        for each in client.read_automations():
            client.delete_automation(each.id)


@flow(name="retrain")
def night() -> State[None]:
    announce(TOLD)
    return Completed(name="Kept", message="No better.")


@flow(name="retrain-detector")
def cut_short() -> State[None]:
    tell_promotion(CLASSIFIER, {"reasons": ["Better."]})
    return Failed(message="The disk is full.")


@flow(name="expand")
def by_hand() -> State[None]:
    return Failed(message="a person sees it")


def the_run(story: Flow[[], State[None]]) -> UUID:
    """Runs a flow to its end, whatever that is."""
    number = story(return_state=True).state_details.flow_run_id
    assert number is not None
    return number


def test_a_verdict_a_drift_a_promotion_and_a_failure_are_told_and_what_a_person_runs_is_not(inbox: Inbox) -> None:
    install("custom-webhook/team")
    by_hand(return_state=True)
    with get_client(sync_client=True) as client:
        ran = [client.read_flow_run(the_run(each)) for each in (cut_short, night)]
    failed, kept = (run.name for run in ran)
    assert inbox.waits_for(4) == [
        f"retrain {kept} | Kept: No better.",
        f"retrain {kept}: new images have drifted | 12 new images have drifted: **appearance**. Adapt.",
        f"retrain-detector {failed} failed | Failed: The disk is full.",
        f"retrain-detector {failed}: a new model is in production | Better.",
    ]


def test_a_second_time_changes_what_is_there_and_leaves_off_what_is_off(inbox: Inbox) -> None:
    names = install("custom-webhook/team")
    assert names == [f"tutelage: {name}" for name in (*MESSAGES, "silence")]
    with get_client(sync_client=True) as client:
        [late] = client.read_automations_by_name("tutelage: late")
        client.pause_automation(late.id)
        install("custom-webhook/team")
        found = client.read_automations()
    assert sorted(each.name for each in found) == sorted(names)
    assert {each.name for each in found if not each.enabled} == {"tutelage: late"}


@flow(name="retrain")
def sudden(seconds: float) -> None:
    time.sleep(seconds)


def test_a_run_of_which_nothing_is_heard_is_ended_and_told(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is killed: there is no worker that would see it."""
    monkeypatch.setattr(alerts, "SILENCE", timedelta(seconds=10))
    install("custom-webhook/team")
    lines = "from test_alerts import sudden; sudden(60)"
    there = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    heard = EventFilter(event=EventNameFilter(name=[alerts.ALIVE]))
    with get_client(sync_client=True) as client:
        before = client.read_events(heard, limit=1).total
        with subprocess.Popen([sys.executable, "-c", lines], env=there) as process:
            until(lambda: client.read_events(EventFilter(event=heard.event), limit=1).total > before, process)
            process.kill()
    [told] = inbox.waits_for(1)
    assert told.startswith("retrain ")
    why = "its machine is gone, or it still runs and its network or this server was away"
    assert told.endswith(f" failed | Crashed: nothing was heard of it: {why}")


@pytest.mark.parametrize(
    ("block", "why"),
    [("team", "not TYPE/NAME"), ("custom-webhook/nobody", "no block"), ("secret/word", "cannot notify")],
)
def test_a_block_that_cannot_tell_is_refused(server: Server, block: str, why: str) -> None:
    Secret(value=SecretStr("x")).save("word", overwrite=True)
    with pytest.raises(Refused, match=why):
        install(block)


def test_no_proxy_stands_between_the_command_and_a_server_here(server: Server) -> None:
    nowhere = dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    bare = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    command = [sys.executable, "-m", "flows.alerts", "custom-webhook/nobody"]
    done = subprocess.run(command, env=bare | nowhere, text=True, capture_output=True, timeout=120)
    assert (done.returncode, "the server has no block" in done.stderr) == (1, True)
