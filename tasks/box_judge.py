"""The judge of detectors: proven better than what boxes alone give, and no worse than what is in production?"""

import hashlib
from dataclasses import asdict
from pathlib import Path

from tasks import latency
from tasks.box_answers import Marked, find, marked, read_found
from tasks.box_checks import Rival, Rules, check, gain, slices
from tasks.checks import Check
from tasks.io import read_json, whole, write_json
from tasks.judge import same_classes, told_slices, verdict_page
from tasks.params import Params
from tasks.text import change, points
from tasks.training import copy_model
from tutelage.data.boxes import Found
from tutelage.data.groups import sliced, units_of
from tutelage.data.manifest import classes_of, read_split
from tutelage.metrics.coco import matched
from tutelage.metrics.comparison import Interval
from tutelage.models.files import DetectorCard, load_detector
from tutelage.types import BadInput, Detector

Judged = tuple[Rival, Detector, DetectorCard]


def box_judge(
    split: Path, candidate: Path, baseline: Path, evaluation: Path, champion: Path, *, params: Params, out: Path
) -> Path:
    """Student, baseline and champion on the test split -> verdict.json, report.md, the winner's model.

    EVALUATION holds what candidate and baseline found. The champion is the detector in production; where there is none
    yet, the baseline. A student is promoted when it beats the baseline beyond chance and is not inferior to the
    champion.
    """
    test, rules = judged_by(split, params)
    new, network, card = rival("candidate", candidate, evaluation / "candidate", test, params)
    plain = rival("baseline", baseline, evaluation / "baseline", test, params)
    in_production = (champion / "model.safetensors").exists()
    fair, _, fair_card = plain
    old, other, old_card = _production(split, champion, test, params) if in_production else plain
    ratio = None
    if card.spec != old_card.spec:
        sized = (network, card.image_size), (other, old_card.image_size)
        ratio = latency.measure(*sized, params.compute, (new.name, old.name))
        print(f"latency: the candidate takes {ratio:.2f} times as long as the {old.name}", flush=True)
    progress = gain(new, fair, rules)
    rows = sliced(test.ids, params.detection.judge.slices, "detection.judge.slices")
    found = slices(new, old, rows, rules)
    checks = check(new, fair, old, progress, ratio=ratio, rules=rules, found=found)
    same = card.sha256 == old_card.sha256
    promote = not same and all(one.passed for one in checks)
    content = {
        "promote": promote,
        "winner": "candidate" if promote else old.name,
        "champion": "production" if in_production else "baseline",
        "reasons": _reasons(promote, progress, checks, old.name, same=same),
        "checks": [asdict(one) for one in checks],
        **told_slices(found),
        "gain": {"ap": progress.estimate, "low": progress.low, "high": progress.high},
        "digests": digests(split)
        | {"candidate": card.sha256, "baseline": fair_card.sha256, "champion": old_card.sha256},
    }
    with whole(out) as folder:
        winner = {"candidate": candidate, "baseline": baseline, "champion": champion}[str(content["winner"])]
        copy_model(winner, folder)
        write_json(folder / "verdict.json", content)
        (folder / "report.md").write_text(verdict_page(content))
    return out


def _reasons(promote: bool, progress: Interval, checks: list[Check], champion: str, *, same: bool) -> list[str]:
    """Why, in sentences a product owner can read."""
    stays = "the supervised baseline" if champion == "baseline" else "the detector in production"
    if same:
        return [f"Not promoted: the candidate is {stays}, byte for byte."]
    words = (
        f"the candidate's AP is {change(progress.estimate)} points from the supervised baseline's "
        f"(95 % interval {points(progress.low)} to {points(progress.high)})"
    )
    if promote:
        held = [] if champion == "baseline" else ["It is not inferior to the detector in production in any check."]
        return [f"Promoted: {words}.", *held]
    failed = [f"{one.name}: {one.reason}" for one in checks if not one.passed]
    return [f"Not promoted: {words}.", *failed, f"So {stays} is kept."]


def _production(split: Path, champion: Path, test: Marked, params: Params) -> Judged:
    """The detector in production, and what it finds in this split's test. BadInput where it knows other classes."""
    table, path = read_split(split), champion / "model.safetensors"
    network, card = load_detector(path)
    same_classes(champion, card.classes, classes_of(table), flow="retrain_detector")
    batch = params.detection.evaluate.batch
    found = find(table, test.rows, network, card, compute=params.compute, batch=batch)
    return _judged("champion", test, found, network, card, params)


def judged_by(split: Path, params: Params) -> tuple[Marked, Rules]:
    """The test images with what is in them, and the rules."""
    wanted = params.detection.judge
    test = marked(split, read_split(split), "test")
    rules = Rules(
        margin=wanted.margin, class_margin=wanted.class_margin, latency_ratio=wanted.latency_ratio,
        resamples=wanted.resamples, seed=params.seed, units=units_of(test.ids, params.detection.split.groups),
    )  # fmt: skip
    return test, rules


def digests(split: Path) -> dict[str, str]:
    """Two verdicts with equal ones judged on the same data."""
    return {name: hashlib.sha256((split / f"{name}.parquet").read_bytes()).hexdigest() for name in ("split", "boxes")}


def rival(name: str, model: Path, evaluation: Path, test: Marked, params: Params) -> Judged:
    """A detector with what it found. BadInput where the evaluation is another one's, or of other images."""
    network, card = load_detector(model / "model.safetensors")
    if read_json(evaluation / "metrics.json").get("model") != card.sha256:
        raise BadInput(f"{evaluation} tested another detector than {model} holds. Run `dvc repro` to test it again")
    seen, found = read_found(evaluation)
    if seen != test.ids:
        raise BadInput(f"the {name} was tested on other images than this split's. Run `dvc repro` to test it again")
    return _judged(name, test, found, network, card, params)


def _judged(
    name: str, test: Marked, found: list[Found], network: Detector, card: DetectorCard, params: Params
) -> Judged:
    most = params.detection.evaluate.max_detections
    said = matched(test.given, found, card.classes, max_detections=most)
    return Rival(name, said, card.parameters, latency.operations(network, card.image_size), found), network, card
