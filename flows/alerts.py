"""Messages about the scheduled flows:  python -m flows.alerts TYPE/NAME

TYPE/NAME is a block of Prefect's that can notify, as slack-webhook/team (docs/orchestration.md says how to make one).
The messages are Prefect automations, made once and brought up to date when this is run again; the server sends them.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, Posture
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.child import Failed
from flows.server import local, named, pass_by_proxies, running
from tasks.closed_pipe import quiet

FLOWS = ("retrain", "retrain-detector")
DRIFTED, PROMOTED = "tutelage.drifted", "tutelage.promoted"  # events that a flow sends, with a text
RUN = "{{ flow.name }} {{ flow_run.name }}"
WORDS = "{{ flow_run.state.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}"
TEXT = "{{ event.payload.text }}\n{{ flow_run|ui_url }}"
ALIVE = "prefect.flow-run.heartbeat"  # sent every minute, as prefect.toml says
ENDED = ("Completed", "Promoted", "Kept", "Failed", "Crashed", "TimedOut", "Cancelled")
SILENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Message:
    """What is sent when one of `events` happens to a run of FLOWS."""

    events: tuple[str, ...]
    subject: str
    body: str = WORDS


MESSAGES = {
    "verdict": Message(("prefect.flow-run.Kept",), RUN),
    "promotion": Message((PROMOTED,), f"{RUN}: a new model is in production", TEXT),
    "question": Message(("prefect.flow-run.Paused",), f"{RUN} asks whether to promote"),
    "failure": Message(
        tuple(f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")), f"{RUN} failed"
    ),
    "late": Message(("prefect.flow-run.Late",), f"{RUN} has not started: is a worker running?"),
    "drift": Message((DRIFTED,), f"{RUN}: new images have drifted", TEXT),
}


def automations(block: UUID) -> Iterator[AutomationCore]:
    """One a message, by which `block` is told, and one that ends runs of which nothing is heard any more."""
    ours: dict[str, str | list[str]] = {"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)}
    made: dict[str, Any] = {"description": "Made by `python -m flows.alerts`, which overwrites it."}
    for name, message in MESSAGES.items():
        happens = EventTrigger(
            expect=set(message.events), match_related=ours, posture=Posture.Reactive, threshold=1, within=timedelta(0)
        )
        tell = SendNotification(block_document_id=block, subject=message.subject, body=message.body)
        yield AutomationCore(name=f"tutelage: {name}", trigger=happens, actions=[tell], **made)
    stops = EventTrigger(
        after={ALIVE}, expect={ALIVE, *(f"prefect.flow-run.{state}" for state in ENDED)}, match_related=ours,
        for_each={"prefect.resource.id"}, posture=Posture.Proactive, threshold=1, within=SILENCE,
    )  # fmt: skip
    told = "nothing was heard of it: its machine is gone, or it still runs and its network or this server was away"
    yield AutomationCore(
        name="tutelage: silence",
        trigger=stops,
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=told, force=False)],
        **made,
    )


def install(name: str) -> list[str]:
    """Make the automations, or change those there are, at the server that is set; their names.

    Raises Failed for a block that is not there, or cannot notify.
    """
    with get_client(sync_client=True) as client:
        return [_put(client, automation) for automation in automations(_block(client, name))]


def _put(client: SyncPrefectClient, automation: AutomationCore) -> str:
    found = client.read_automations_by_name(automation.name)
    if found:
        automation.enabled = found[0].enabled  # who has switched a message off wants it to stay so
        client.update_automation(found[0].id, automation)
    else:
        client.create_automation(automation)
    return automation.name


def _block(client: SyncPrefectClient, name: str) -> UUID:
    kind, slash, own_name = name.partition("/")
    if not (kind and slash and own_name):
        raise Failed(
            f"{name!r} is not TYPE/NAME, as slack-webhook/team is. `prefect block ls` lists the blocks that there are"
        )
    try:
        block = client.read_block_document_by_name(own_name, kind, include_secrets=False)
    except ObjectNotFound as error:
        raise Failed(f"the server has no block {name}. `prefect block ls` lists those that there are") from error
    if "notify" not in (block.block_schema.capabilities if block.block_schema else []):
        raise Failed(
            f"block {name} cannot notify. Make one of a type that can, such as slack-webhook or custom-webhook"
        )
    return block.id


@quiet
def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.alerts", description=__doc__.split(":  ")[0])
    parser.add_argument(
        "block", metavar="TYPE/NAME", help="a block of Prefect's that can notify, as slack-webhook/team"
    )
    asked = parser.parse_args()
    try:
        known = running()
        if not known:
            raise Failed(
                f"no server of yours answers at {named()}. `make ui` starts one that stays; only such a one can send "
                "messages"
            )
        if local(known):
            pass_by_proxies()
        with temporary_settings({PREFECT_API_URL: known}):
            names = install(asked.block)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{asked.block} is told of runs of {' and '.join(FLOWS)}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
