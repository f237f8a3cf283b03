"""The images of the demo of adaptation."""

from pathlib import Path

from tasks.box_params import Compose
from tasks.compose import Scenes, composed
from tasks.params import Params
from tutelage.data.wardrobe import Domain

DOMAINS: tuple[Domain, ...] = ("night", "fog")


def compose_domains(fetched: Path, *, params: Params, out: Path) -> Path:
    """Fashion-MNIST -> the scenes of `compose` by day (pool.json) and, in target/, scenes at night and in fog before
    other backgrounds (pool.json, test.json)."""
    wanted: Compose = params.detection.compose
    sets = [
        Scenes("", "pool", wanted.pool, "train"),
        Scenes("target", "pool", wanted.target_pool, "train", DOMAINS),
        Scenes("target", "test", wanted.target_test, "test", DOMAINS),
    ]
    return composed(fetched, sets, params=params, out=out)
