"""Who may see which masks of source and target."""

from pathlib import Path

import pyarrow.compute as pc

from tasks.adapt_scenes import WORDS, as_scenes, unmasked
from tasks.params import Params
from tasks.scenes_split import scenes_split
from tasks.wording import refusals
from tutelage.data.scenes import read_boxes
from tutelage.types import BadInput


def adapt_scenes_split(ingested: Path, *, params: Params, out: Path) -> Path:
    """What `adapt_scenes_ingest` wrote -> what `scenes_split` writes: the target's labels are in truth.parquet alone.

    Where pixels are named, objects of the source and of the test must have masks.
    """
    boxes = read_boxes(ingested)
    bare = sorted(unmasked(boxes.filter(pc.invert(pc.starts_with(boxes["id"], "pool/")))))
    if bare and "segmentation" in params.adapt_scenes.network.tasks:
        raise BadInput(
            f"{len(bare)} images of the source or the test have objects without a mask, such as {bare[0]}. Give each "
            "its `segmentation` in the COCO JSON, take the image out, or find "
            "boxes instead (adapt_scenes.network.tasks: [detection])"
        )
    with refusals(WORDS):
        return scenes_split(ingested, params=as_scenes(params), out=out, calibrated=False)
