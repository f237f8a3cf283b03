"""The scheduled story, from new images to production:  python -m flows.retrain"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from prefect.transactions import Transaction, transaction

from flows.child import Failed
from flows.expand import grow
from flows.reproduce import Reproduce, Run, checkout
from flows.server import by_hand, command_line
from tasks.closed_pipe import quiet
from tasks.io import read_json

DAY, POLL = 24 * 3600, 5  # seconds
WATCH, DOMAIN_ROUND = "watch", "domain_choose"  # stages: are new images otherwise; adapt to them, and was it worth it


class Approval(RunInput):
    """What a person answers before a model goes into production."""

    promote: bool


@flow
def retrain(ask: bool = False, workers: int = 2) -> State[None]:
    """Take in new images, grow and judge a model, put it into production if it is proven better, store every byte.

    Where the new images have drifted, it says so and adapts the model to them; what comes of it is not promoted.
    With `ask` the flow waits, for a day at most, until somebody answers in Prefect's UI.
    """
    with checkout(workers=workers) as reproduce:
        keep_champion(reproduce)
        take_in_new_images(reproduce)
        drifted = look_out(reproduce)
        judged = grow(reproduce)
        if drifted:
            reproduce(DOMAIN_ROUND)
        verdict = read_json(Path("work/judge/verdict.json"))
        promoted = verdict["promote"] and (not ask or approved())
        if promoted:
            go_live(reproduce, judged)
        push(reproduce)
        see_that_all_is_up_to_date(reproduce)
    return Completed(name="Promoted" if promoted else "Kept", message=" ".join(verdict["reasons"]))


@task(task_run_name="keep_champion", cache_policy=NO_CACHE)
def keep_champion(reproduce: Reproduce) -> None:
    """registry/champion becomes what is in production now: what the next model has to beat."""
    reproduce.run("tasks.promote", "snapshot_champion", "registry")
    track(reproduce, "champion")
    track(reproduce, "production")  # a flow that was cut off may have left it to us


def take_in_new_images(reproduce: Reproduce) -> None:
    """Images in folders are noticed by DVC itself; those of a `dvc import` are fetched."""
    for source in reproduce.imports():
        update(reproduce, source)


@task(task_run_name="update {source}", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=10)
def update(reproduce: Reproduce, source: str) -> None:
    reproduce.run("dvc", "--wait-for-lock", "update", source)


def look_out(reproduce: Reproduce) -> bool:
    """Whether the new images no longer look like those that production learned from, which an artifact then says."""
    reproduce(WATCH)
    told = read_json(reproduce.root / "work/watch/drift.json")
    if told["kind"] != "none":
        announce(told)
    return told["answer"] is not None


@task(task_run_name="announce", cache_policy=NO_CACHE)
def announce(told: dict[str, Any]) -> None:
    """Which drift was seen, and what the flow does about it."""
    text = words_of(told)
    create_markdown_artifact(text, key="drift", description=f"Drift: {told['kind']}")
    get_run_logger().warning("%s", text)


def words_of(told: dict[str, Any]) -> str:
    """drift.json of `watch` as Markdown."""
    answer = told["answer"]
    then = f"A round of adaptation by `{answer}` follows." if answer else "No round of adaptation follows."
    return f"{told['images']} new images have drifted: **{told['kind']}**. {told['advice']}\n\n{then}"


def approved() -> bool:
    """What a person says. Raises FlowPauseTimeout when nobody does; production stays as it is."""
    return pause_flow_run(wait_for_input=Approval, timeout=DAY, poll_interval=POLL).promote


def go_live(reproduce: Reproduce, judged: list[Run]) -> None:
    """The files of production and what DVC remembers of them change together, or not at all."""
    with transaction():
        put_into_production(reproduce, wait_for=judged)
        track_production(reproduce)


@task(task_run_name="put_into_production", cache_policy=NO_CACHE)
def put_into_production(reproduce: Reproduce) -> None:
    """The verdict's winner, once it has been loaded and has answered."""
    reproduce.run("tasks.promote", "promote", "work/judge", "registry", "work/split")


@put_into_production.on_rollback
def take_back(_: Transaction) -> None:
    subprocess.run([sys.executable, "-m", "tasks.promote", "restore", "registry"], check=True)


@task(task_run_name="track_production", cache_policy=NO_CACHE)
def track_production(reproduce: Reproduce) -> None:
    """The model's bytes go to DVC's cache, their hash to a file that Git keeps."""
    track(reproduce, "production")


@task(task_run_name="push", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=10)
def push(reproduce: Reproduce) -> None:
    """Every byte goes to DVC's default remote."""
    reproduce.run("dvc", "--wait-for-lock", "push")


@task(task_run_name="see_that_all_is_up_to_date", cache_policy=NO_CACHE)
def see_that_all_is_up_to_date(reproduce: Reproduce) -> None:
    """`dvc status` is clean but for stages of other stories, such as compression, or the flow has failed."""
    told = json.loads(reproduce.run("dvc", "--wait-for-lock", "status", "--json"))
    if changed := {name: why for name, why in told.items() if name not in reproduce.untouched()}:
        raise Failed(f"`dvc status` is not clean after the flow: {changed}")


def track(reproduce: Reproduce, place: str) -> None:
    files = [Path("registry") / place / name for name in ("model.safetensors", "seen.parquet")]
    if found := [str(file) for file in files if (reproduce.root / file).exists()]:
        reproduce.run("dvc", "--wait-for-lock", "add", *found)


@quiet
def main() -> int:
    arguments = command_line(retrain)
    arguments.add_argument("--ask", action="store_true", help="wait for an answer in Prefect's UI before promoting")
    given: dict[str, Any] = vars(arguments.parse_args())
    return by_hand(lambda: retrain(**given))


if __name__ == "__main__":
    sys.exit(main())
