"""What is wrong with the images of two domains, before anything is adapted."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tasks.doctor import examine
from tasks.params import Params, Split

WORDS = {
    "ingest.root": "adapt.ingest.root",
    "ingest.labelled": "adapt.ingest.source",
    "ingest.pool": "adapt.ingest.target",
    "ingest.test, or add labelled images: of a class with one image, or one group, none is set aside": (
        "adapt.ingest.test"
    ),
    "or give no test of your own: it is then drawn by groups": "or give those of the target other names",
    "Raise split.test_fraction, or give a test": "Give a test (adapt.ingest.test)",
    "Mend or remove it": "Let it find something here too, or remove it",
    "dvc repro split": "dvc repro adapt_split",
    "--force ingest": "--force adapt_ingest",
}


def adapt_doctor(ingested: Path, split: Path, *, params: Params, out: Path) -> Path:
    """As `doctor`: a class without a labelled image of the source, names that differ, an image in two roles; and a
    target or a hold-out without images is a problem too.
    """
    wanted = Split(labels_per_class=None, holdout=params.adapt.holdout, groups=params.split.groups)
    return examine(ingested, split, params=replace(params, split=wanted), out=out, more=_missing, words=WORDS)


def _missing(table: pa.Table) -> Iterator[str]:
    roles = table["role"].to_pylist()
    if "pool" not in roles:
        yield "The target has no image, so there is nothing to adapt to. Set adapt.ingest.target"
    if "holdout" not in roles:
        yield "No image of the source is held out, so nothing could be calibrated or guarded. Raise adapt.holdout"
