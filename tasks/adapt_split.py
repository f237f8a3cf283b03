"""Who may see which label of two domains."""

from dataclasses import replace
from pathlib import Path

from tasks.params import Params, Split
from tasks.split import split


def adapt_split(ingested: Path, *, params: Params, out: Path) -> Path:
    """Manifest -> split.parquet: `labelled` and `holdout` are the source, `pool` the target, `test` its test.

    Images of one group (`split.groups`) are taught from or held out together.
    """
    wanted = Split(labels_per_class=None, holdout=params.adapt.holdout, groups=params.split.groups)
    return split(ingested, params=replace(params, split=wanted), out=out)
