"""The scheduled story, from new images to production:  python -m flows.retrain"""

import sys
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event

from flows.alerts import DRIFTED
from flows.artifacts import Shown
from flows.expand import grow
from flows.production import (
    DAY,
    Place,
    conclude,
    main_of_retraining,
    prepare,
    store,
)
from flows.reproduce import Reproduce, checkout
from tasks.io import read_json

CLASSIFIER = Place("registry", "work/judge", "work/split", "split", seen=True)
WATCH, DOMAIN_ROUND = "watch", "domain_choose"  # stages: are new images otherwise; adapt to them, and was it worth it


@flow
def retrain(ask: bool = False, workers: int = 2) -> State[None]:
    """Take in new images, grow and judge a model, put it into production if it is proven better, store every byte.

    Where the new images have drifted, it says so and adapts the model to them; what comes of it is not promoted.
    With `ask` the flow waits, for a day at most, until somebody answers in Prefect's UI. As long it waits for another
    flow that is at work in this checkout.
    """
    with checkout(workers=workers, patience=DAY) as reproduce:
        prepare(reproduce, CLASSIFIER)
        drifted = look_out(reproduce)
        judged = grow(reproduce)
        state = conclude(reproduce, CLASSIFIER, judged, ask=ask)
        if drifted:  # after all that it must not hold up
            reproduce(DOMAIN_ROUND)
            store(reproduce, CLASSIFIER)
        return state


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
    get_run_logger().warning("%s", text)
    Shown("retrain").markdown(text, key="drift", description=f"Drift: {told['kind']}")
    emit_event(DRIFTED, resource={"prefect.resource.id": "tutelage.pool"}, payload={"text": text})


def words_of(told: dict[str, Any]) -> str:
    """drift.json of `watch` as Markdown."""
    answer = told["answer"]
    then = f"A round of adaptation by `{answer}` follows." if answer else "No round of adaptation follows."
    return f"{told['images']} new images have drifted: **{told['kind']}**. {told['advice']}\n\n{then}"


if __name__ == "__main__":
    sys.exit(main_of_retraining(retrain))
