"""Who may see which objects, where several tasks share the scenes."""

from dataclasses import replace
from pathlib import Path

from tasks.params import Params
from tasks.scenes_split import scenes_split
from tasks.wording import refusals

WORDS = {"detection.split": "multitask.split"}  # refusals name the section that was read


def multi_scenes_split(ingested: Path, *, params: Params, out: Path) -> Path:
    """What `scenes_ingest` wrote -> what `scenes_split` writes, with as many labelled scenes as several tasks need."""
    detection = params.detection.seen_by(params.multitask.network.detector, split=params.multitask.split)
    with refusals(WORDS):
        return scenes_split(ingested, params=replace(params, detection=detection), out=out, calibrated=False)
