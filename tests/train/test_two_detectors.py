"""A process whose pool has no pseudo-box must not stop the others, whatever detector learns how (gloo, CPU)."""

import dataclasses
from pathlib import Path

import pytest
import torch
from fresh import ranks as in_ranks
from scene_fixtures import SIZE, scene_batch

from tutelage.methods.detection import DETECTION_METHODS, DetectionMethod
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.train.device import accelerator
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import Sizes

pytestmark = pytest.mark.slow
STEPS, BLANK = 2, 1  # so many steps, of which the second process has no box of the pool in the first ones
KINDS = ("fcos", "retinanet", "faster_rcnn")
METHODS = {name: cls() for name, cls in DETECTION_METHODS.items()} | {
    "stac-online": DETECTION_METHODS["stac"](online=True),
    "mean_teacher-pseudo": DETECTION_METHODS["mean_teacher"](pseudo=0.5, ramp=0.0),
    "unbiased_teacher-certainty": DETECTION_METHODS["unbiased_teacher"](burn_in=0.0, place_trust="certainty"),
    "unbiased_teacher-jitter": DETECTION_METHODS["unbiased_teacher"](burn_in=0.0, place_trust="jitter"),
}
OFFLINE = {"stac", "dug_multiphase", "mean_teacher-pseudo"}  # these learn the places of the pool's boxes
PLACES = {"pool_regression", "pool_rpn_regression"}


def told(method: DetectionMethod, rank: int) -> DetectionMethod:
    """The teacher in the step itself is sure of everything in the first process, and of nothing in the second."""
    wanted = {"burn_in": 0.0, "confidence": float(rank)}
    fields = {field.name for field in dataclasses.fields(method)} & wanted.keys()
    return dataclasses.replace(method, **{name: wanted[name] for name in fields})


def train(method: DetectionMethod, kind: str, rank: int) -> dict[str, object]:
    torch.manual_seed(0)
    spec = DetectorSpec(kind=kind, width=4, channels=8, image_size=SIZE, levels=(4, 8), head_convs=1, score_floor=0.0)
    settings = Optimiser(warmup_steps=1)
    run = begin(method, create_detector(spec, 3), create_detector(spec, 3), Sizes(3, 4, 3, STEPS), settings)
    torch.manual_seed(10 + rank)
    feed = [scene_batch(labeled=2, pool=2) for _ in range(STEPS)]
    if rank == 1:
        for step in range(BLANK):
            none = tuple(type(each)(*(field[:0] for field in each)) for each in feed[step].pool.strong_boxes)
            feed[step] = feed[step]._replace(
                pool=feed[step].pool._replace(weak_boxes=none, strong_boxes=none, weight=torch.zeros(2))
            )
    engine = accelerator(Compute(threads=1, device="cpu", precision="fp32"))
    assert engine.num_processes == 2
    taken = list(fit(method, run, feed, settings, steps=STEPS, accelerator=engine))
    return {
        "keys": [sorted(step.terms) for step in taken],
        "skipped": [step.skipped for step in taken],
        "placed": [sum(float(v) for name, v in step.terms.items() if name in PLACES) for step in taken],
        "weights": torch.cat([p.detach().reshape(-1) for p in run.nets.student.parameters()]),
        "average": torch.cat([p.reshape(-1) for p in run.average.parameters()]),
    }


def worker(rank: int, folder: Path) -> None:
    found = {
        f"{name}-{kind}": train(told(method, rank), kind, rank) for kind in KINDS for name, method in METHODS.items()
    }
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes saw, by method and detector."""
    folder = tmp_path_factory.mktemp("ranks")
    in_ranks(lambda rank: worker(rank, folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_process_without_pseudo_boxes_keeps_up(ranks, method, kind):
    one, two = (found[f"{method}-{kind}"] for found in ranks)
    assert one["keys"] == two["keys"]
    assert len({tuple(keys) for keys in one["keys"]}) == 1
    assert one["skipped"] == two["skipped"] == [False] * STEPS
    for weights in ("weights", "average"):
        assert one[weights].isfinite().all()
        torch.testing.assert_close(one[weights], two[weights], rtol=0, atol=0)
    if method in OFFLINE:
        assert all(place > 0 for place in one["placed"])
        assert [place > 0 for place in two["placed"]] == [False] * BLANK + [True] * (STEPS - BLANK)
