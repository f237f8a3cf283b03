"""The test of all detectors of the rounds as one."""

import hashlib
from pathlib import Path

from tasks.box_answers import find, marked
from tasks.box_calibrate import scale_of
from tasks.box_evaluate import write_test
from tasks.io import read_json
from tasks.params import Params
from tasks.training import untested
from tutelage.data.manifest import read_split
from tutelage.metrics.box_trust import fused
from tutelage.models.files import load_detector


def box_fuse(split: Path, teacher: Path, rounds: Path, *, params: Params, out: Path) -> Path:
    """Test images, the first teacher and what each round's guard let pass -> found.parquet, metrics.json, report.md.

    Weighted box fusion with `fuse.weights`, of scores as the calibrations read them, so each looks at an image in as
    many ways as `label` asks for; of the last detector, which none was made for, its own teacher's is taken. Without
    weights metrics.json says that nothing is fused.
    """
    wanted, name = params.detection, "all detectors, fused"
    if wanted.fuse.weights is None:
        return untested(name, "fuse.weights is null", out, what="detector")
    table = read_split(split)
    test, numbers = marked(split, table, "test"), sorted(wanted.rounds)
    models = [teacher, *(rounds / str(number) / "guard" for number in numbers)]
    scales = [rounds / str(number) / "calibration/calibration.json" for number in [*numbers, numbers[-1]]]
    seen, cards = [], []
    for model, scale in zip(models, scales, strict=True):
        network, card = load_detector(model / "model.safetensors")
        found = find(
            table, test.rows, network, card, compute=params.compute, batch=wanted.evaluate.batch, ways=wanted.ways
        )
        chance = scale_of(read_json(scale))
        seen.append([one._replace(scores=chance(one.scores)) for one in found])
        cards.append(card)
    both = [fused(each, weights=wanted.fuse.weights, iou=wanted.fuse.iou) for each in zip(*seen, strict=True)]
    about = {
        "parameters": sum(card.parameters for card in cards),
        "model": hashlib.sha256("".join(card.sha256 for card in cards).encode()).hexdigest(),
    }
    return write_test(name, (test, both), cards[0].classes, params=params, about=about, out=out)
