"""Which scenes of source and target there are."""

from pathlib import Path

from tasks.adapt_scenes import WORDS, as_scenes
from tasks.params import Params
from tasks.scenes_ingest import scenes_ingest
from tasks.wording import refusals


def adapt_scenes_ingest(root: Path, *, params: Params, out: Path) -> Path:
    """COCO JSON and images of a labelled source, a target and its test -> what `scenes_ingest` writes."""
    with refusals(WORDS):
        return scenes_ingest(root, params=as_scenes(params), out=out)
