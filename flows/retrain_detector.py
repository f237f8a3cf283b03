"""The same for detectors, from new images to production:  python -m flows.retrain_detector"""

import sys

from prefect import flow
from prefect.client.schemas.objects import State

from flows.detect import find
from flows.production import (
    DAY,
    Place,
    conclude,
    main_of_retraining,
    prepare,
)
from flows.reproduce import checkout

DETECTOR = Place("registry/detector", "work/detection/judge", "work/detection/split", "scenes_split")


@flow
def retrain_detector(ask: bool = False, workers: int = 2) -> State[None]:
    """Take in new images, grow and judge a detector, put it into production if it is proven better, store every byte.

    With `ask` the flow waits, for a day at most, until somebody answers in Prefect's UI. As long it waits for another
    flow that is at work in this checkout.
    """
    with checkout(workers=workers, patience=DAY) as reproduce:
        prepare(reproduce, DETECTOR)
        return conclude(reproduce, DETECTOR, find(reproduce), ask=ask)


if __name__ == "__main__":
    sys.exit(main_of_retraining(retrain_detector))
