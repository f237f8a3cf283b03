"""What flows that retrain have in common: what is in production, new images, approval, and storing every byte."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow, get_client, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Completed, Running
from prefect.transactions import Transaction, transaction

from flows.alerts import PROMOTED
from flows.child import Failed
from flows.reproduce import Reproduce, Run, see_that_it_is_wanted
from flows.server import by_hand, command_line
from tasks.closed_pipe import quiet
from tasks.graph import overlap
from tasks.io import read_json
from tasks.locked import CODE
from tasks.promote import all_the_same, taken_back
from tasks.text import listed

DAY, POLL = 24 * 3600, 5  # seconds
PATIENCE = 12  # attempts at a server that is away while a person is waited for, each after twice as long: two hours


@dataclass(frozen=True)
class Place:
    """Where models of one kind are in production, and who judges them."""

    registry: str  # folder of production/ and champion/
    judged: str  # folder of the verdict and the winner
    split: str  # folder
    stage: str  # that makes the split
    seen: bool = False  # the split's pool goes into production with the model


class Approval(RunInput):
    """What a person answers before a model goes into production."""

    promote: bool


@task(task_run_name="keep_champion", cache_policy=NO_CACHE)
def keep_champion(reproduce: Reproduce, place: Place) -> None:
    """The registry's champion becomes what is in production now: what the next model has to beat."""
    reproduce.run("tasks.promote", "snapshot_champion", place.registry)
    track(reproduce, place, "champion")
    track(reproduce, place, "production")  # a flow that was cut off may have left it to us


def prepare(reproduce: Reproduce, place: Place) -> None:
    """What has to be beaten, and the new images, before anything is trained."""
    keep_champion(reproduce, place)
    take_in_new_images(reproduce)
    see_that_classes_are_known(reproduce, place)


def see_that_classes_are_known(reproduce: Reproduce, place: Place) -> None:
    """The judge compares with what is in production, which needs the same classes: asked before anything is trained."""
    reproduce(place.stage)
    compare_classes(reproduce, place)


@task(task_run_name="compare_classes", cache_policy=NO_CACHE)
def compare_classes(reproduce: Reproduce, place: Place) -> None:
    """Fails where new images have brought a class or taken one away."""
    reproduce.run("tasks.promote", "same_classes", place.registry, place.split)


def take_in_new_images(reproduce: Reproduce) -> None:
    """Images in folders are noticed by DVC itself; those of a `dvc import` are fetched."""
    for source in reproduce.imports():
        update(reproduce, source)


@task(task_run_name="update {source}", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=10)
def update(reproduce: Reproduce, source: str) -> None:
    reproduce.run("dvc", "--wait-for-lock", "update", source)


def conclude(reproduce: Reproduce, place: Place, judged: list[Run], *, ask: bool) -> State[None]:
    """Production changes where the verdict says so, and a person if asked; then every byte is stored."""
    path = Path(place.judged) / "verdict.json"
    verdict = read_json(path)
    declined = declines(place, verdict, ask=ask) if verdict["promote"] else None
    promoted = verdict["promote"] and not declined
    if read_json(path) != verdict:  # `dvc repro` may run beside a flow that waits
        raise Failed(f"{path} has changed since a person was asked, so the answer does not count. Run the flow again")
    if promoted:
        see_that_it_is_wanted()
        go_live(reproduce, place, judged)
        tell_promotion(place, verdict)
    try:
        store(reproduce, place)
    except Failed as error:
        if promoted:
            raise Failed(f"the new model is in production, but to store it did not end well: {error}") from error
        raise
    reasons = " ".join(filter(None, [declined, *verdict["reasons"]]))
    return Completed(name="Promoted" if promoted else "Kept", message=reasons)


def declines(place: Place, verdict: dict[str, Any], *, ask: bool) -> str | None:
    """Why a model that the verdict promotes does not go into production all the same; None where it does."""
    if digest_of(verdict) in taken_back(Path(place.registry)):
        split = Path(place.split) if place.seen else None
        return f"A person has taken this model back; {all_the_same(Path(place.judged), Path(place.registry), split)}."
    try:
        return None if not ask or approved(verdict) else "A person said no."
    except FlowPauseTimeout:
        go_on()
        return "Nobody answered within a day."


def go_on() -> None:
    """The run is no longer paused, in the server's eyes too, which would call its end a failure."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run.id), Running(), force=True)


def tell_promotion(place: Place, verdict: dict[str, Any]) -> None:
    """At once, since the flow may be ended before it ends well."""
    of = {"prefect.resource.id": f"tutelage.{place.registry}"}
    emit_event(PROMOTED, resource=of, payload={"text": " ".join(verdict["reasons"])})


def store(reproduce: Reproduce, place: Place) -> None:
    """Every byte goes to the remote, and nothing of this flow is left to be done."""
    push(reproduce)
    see_that_all_is_up_to_date(reproduce, place)


def approved(verdict: dict[str, Any]) -> bool:
    """What a person says. Raises FlowPauseTimeout when nobody does; production stays as it is."""
    told = " ".join([*verdict["reasons"], f"sha256 of the model: {digest_of(verdict)}"])
    asked = Approval.with_initial_data(description=told)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: PATIENCE}):
        return pause_flow_run(wait_for_input=asked, timeout=DAY, poll_interval=POLL).promote


def digest_of(verdict: dict[str, Any]) -> str:
    """The winner's sha256."""
    digest: str = verdict["digests"][verdict["winner"]]
    return digest


def go_live(reproduce: Reproduce, place: Place, judged: list[Run]) -> None:
    """The files of production and what DVC remembers of them change together, or not at all."""
    with transaction() as both:
        both.set("registry", place.registry)
        both.set("hashes", {file: file.read_text() for file in Path(place.registry, "production").glob("*.dvc")})
        put_into_production(reproduce, place, wait_for=judged)
        track_production(reproduce, place)


@task(task_run_name="put_into_production", cache_policy=NO_CACHE)
def put_into_production(reproduce: Reproduce, place: Place) -> None:
    """The verdict's winner, once it has been loaded and has answered."""
    reproduce.run("tasks.promote", "promote", place.judged, place.registry, *([place.split] if place.seen else []))


@put_into_production.on_rollback
def take_back(both: Transaction) -> None:
    subprocess.run([sys.executable, "-m", "tasks.promote", "roll_back", both.get("registry")], check=True)
    for file, text in both.get("hashes").items():
        file.write_text(text)


@task(task_run_name="track_production", cache_policy=NO_CACHE)
def track_production(reproduce: Reproduce, place: Place) -> None:
    """The model's bytes go to DVC's cache, their hash to a file that Git keeps."""
    track(reproduce, place, "production")


@task(task_run_name="push", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=10)
def push(reproduce: Reproduce) -> None:
    """Every byte goes to DVC's default remote."""
    reproduce.run("dvc", "--wait-for-lock", "push")


@task(task_run_name="see_that_all_is_up_to_date", cache_policy=NO_CACHE)
def see_that_all_is_up_to_date(reproduce: Reproduce, place: Place) -> None:
    """`dvc status` is clean for all that took part, or the flow has failed. Other stories' stages may be stale, and
    data that has come in since it was read is the next flow's."""
    said = reproduce.run("dvc", "--wait-for-lock", "status", "--json")
    told = json.loads(said.splitlines()[-1])  # of frozen stages it warns before
    places = tuple(f"{place.registry}/{which}/" for which in ("production", "champion"))
    changed = {name: why for name, why in told.items() if name in reproduce.touched() or name.startswith(places)}
    sources = {name for name, stage in reproduce.dag.items() if stage.source}
    made = [place.registry, *(path for name in reproduce.dag.keys() - sources for path in reproduce.dag[name].writes)]
    late = [name for name, why in changed.items() if came_in(why, made, "outs" if name in sources else "deps")]
    if late:
        get_run_logger().info("New data has come in since %s read it: the next flow takes it in", listed(late))
    if wrong := {name: why for name, why in changed.items() if name not in late}:
        raise Failed(f"`dvc status` is not clean after the flow: {wrong}")


def came_in(why: list[Any], made: list[str], kind: str) -> bool:
    """Whether `dvc status` says just that data is no longer as it was read, none of which is in `made`.

    That a stage reads it is one of its `deps`; a .dvc file has it in its `outs`.
    """
    if any(not isinstance(each, dict) or each.keys() != {f"changed {kind}"} for each in why):
        return False
    data = [one for each in why for one in each[f"changed {kind}"].items()]
    sources = [path for path, how in data if how == "modified" and not path.startswith(CODE)]
    return len(sources) == len(data) and not any(overlap(path, one) for path in sources for one in made)


def track(reproduce: Reproduce, place: Place, which: str) -> None:
    files = [Path(place.registry) / which / name for name in ("model.safetensors", "seen.parquet")]
    if found := [str(file) for file in files if (reproduce.root / file).exists()]:
        reproduce.run("dvc", "--wait-for-lock", "add", *found)


@quiet
def main_of_retraining(story: Flow[..., Any]) -> int:
    """`python -m flows.NAME` of a flow that may ask a person. An exit code."""
    arguments = command_line(story)
    arguments.add_argument("--ask", action="store_true", help="wait for an answer in Prefect's UI before promoting")
    given: dict[str, Any] = vars(arguments.parse_args())
    return by_hand(lambda: story(**given))
