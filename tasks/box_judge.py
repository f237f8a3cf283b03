"""The judge of detectors: is the student proven better than what boxes alone give?"""

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks import latency
from tasks.box_answers import marked, read_found
from tasks.box_checks import Rival, Rules, Truth, check, gain
from tasks.io import read_json, whole, write_json
from tasks.judge import checks_table
from tasks.params import Params
from tasks.text import change, points
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.files import DetectorCard, load_detector
from tutelage.types import BadInput, Detector


def box_judge(split: Path, candidate: Path, baseline: Path, evaluation: Path, *, params: Params, out: Path) -> Path:
    """Student and baseline, and what both found in the test split -> verdict.json, report.md, the winner's model."""
    ids, truth, rules = judged_by(split, params)
    (new, network, card), (fair, other, fair_card) = (
        rival(name, folder, evaluation / name, ids)
        for name, folder in (("candidate", candidate), ("baseline", baseline))
    )
    ratio = None
    if card.spec != fair_card.spec:
        ratio = latency.measure((network, card.image_size), (other, fair_card.image_size), params.compute)
        print(f"latency: the candidate takes {ratio:.2f} times as long as the baseline", flush=True)
    progress = gain(new, fair, truth, rules)
    checks = check(new, fair, fair, truth, progress, ratio=ratio, rules=rules)
    promote = all(one.passed for one in checks)
    words = (
        f"the candidate's AP is {change(progress.estimate)} points from the supervised baseline's "
        f"(95 % interval {points(progress.low)} to {points(progress.high)})"
    )
    failed = [f"{one.name}: {one.reason}" for one in checks if not one.passed]
    content = {
        "promote": promote,
        "winner": "candidate" if promote else "baseline",
        "reasons": [f"{'Promoted' if promote else 'Not promoted'}: {words}.", *failed],
        "checks": [asdict(one) for one in checks],
        "gain": {"ap": progress.estimate, "low": progress.low, "high": progress.high},
        "digests": digests(split) | {"candidate": card.sha256, "baseline": fair_card.sha256},
    }
    with whole(out) as folder:
        winner = candidate if promote else baseline
        shutil.copyfile(winner / "model.safetensors", folder / "model.safetensors")
        write_json(folder / "verdict.json", content)
        (folder / "report.md").write_text(_markdown(content))
    return out


def judged_by(split: Path, params: Params) -> tuple[list[str], Truth, Rules]:
    """The test images, by id, what is in them, and the rules."""
    table, wanted = read_split(split), params.detection
    test = marked(split, table, "test")
    rules = Rules(
        class_margin=wanted.judge.class_margin, latency_ratio=wanted.judge.latency_ratio,
        resamples=wanted.judge.resamples, seed=params.seed, max_detections=wanted.evaluate.max_detections,
    )  # fmt: skip
    return test.ids, Truth(test.given, classes_of(table)), rules


def digests(split: Path) -> dict[str, str]:
    """Two verdicts with equal ones judged on the same data."""
    return {name: hashlib.sha256((split / f"{name}.parquet").read_bytes()).hexdigest() for name in ("split", "boxes")}


def rival(name: str, model: Path, evaluation: Path, ids: list[str]) -> tuple[Rival, Detector, DetectorCard]:
    """A detector with what it found. BadInput where the evaluation is another one's, or of other images."""
    network, card = load_detector(model / "model.safetensors")
    if read_json(evaluation / "metrics.json").get("model") != card.sha256:
        raise BadInput(f"{evaluation} tested another detector than {model} holds. Run `dvc repro` to test it again")
    seen, found = read_found(evaluation)
    if seen != ids:
        raise BadInput(f"the {name} was tested on other images than this split's. Run `dvc repro` to test it again")
    return Rival(name, found, card.parameters, latency.operations(network, card.image_size)), network, card


def _markdown(content: dict[str, Any]) -> str:
    verdict = "promote the candidate" if content["promote"] else "the baseline wins"
    parts = [
        f"# Verdict: {verdict}",
        "\n".join(f"- {reason}" for reason in content["reasons"]),
        checks_table(content["checks"], ("candidate", "compared with")),
    ]
    return "\n\n".join(parts) + "\n"
