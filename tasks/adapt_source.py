"""The model of the source alone, which every adapted one must beat."""

from pathlib import Path

from tasks.params import Params
from tasks.training import supervised


def adapt_source(split: Path, *, params: Params, out: Path) -> Path:
    """Train on the labelled source, in weak and strong views, with a moving average: model.safetensors, curve.csv."""
    return supervised("adapt_source", params.adapt.source, ("labelled",), split, params, out)
