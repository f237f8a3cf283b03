"""The judge of compression of detectors: may the narrower one take its teacher's place?"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks import latency
from tasks.box_checks import Rival, Rules, between, gain
from tasks.box_judge import digests, judged_by, rival
from tasks.checks import Check
from tasks.fair import uneven_pair
from tasks.io import whole, write_json
from tasks.judge import page
from tasks.params import Params
from tasks.text import change, points
from tasks.training import copy_model
from tutelage.metrics.coco import averages


def box_compact_judge(
    split: Path, teacher: Path, student: Path, evaluation: Path, *, params: Params, out: Path
) -> Path:
    """Compact detector against its teacher on the test split -> verdict.json, report.md, the model that stays.

    EVALUATION holds teacher/, student/ and baseline/. The student takes the place when it is small enough, no slower
    than asked, and its AP is not lower beyond the margin and chance.
    """
    test, rules = judged_by(split, params)
    places = {"student": student, "teacher": teacher, "baseline": student.with_name("baseline")}
    (new, network, card), (old, other, old_card), (plain, _, _) = (
        rival(name, place, evaluation / name, test, params) for name, place in places.items()
    )
    sized = (network, card.image_size), (other, old_card.image_size)
    ratio = latency.measure(*sized, params.compute, (new.name, old.name))
    print(f"latency: the student takes {ratio:.2f} times as long as the teacher", flush=True)
    checks = [_ap(new, old, rules, params), _size(new, old, params), _speed(new, old, ratio, params)]
    promote = all(one.passed for one in checks)
    winner = "student" if promote else "teacher"
    beside = gain(new, plain, rules)
    alone = f"the student's AP is {change(beside.estimate)} points from it (95 % interval {between(beside)})"
    trained = params.detection.compress.student, params.detection.compress.baseline
    told = uneven_pair(*trained, section="detection.compress", names=("student", "baseline"), whose="the teacher's")
    content: dict[str, Any] = {
        "promote": promote,
        "winner": winner,
        "reasons": [*_reasons(promote, checks), f"The same network from boxes alone: {alone}.", *told],
        "checks": [asdict(one) for one in checks],
        "gain": {"ap": beside.estimate, "low": beside.low, "high": beside.high},
        "digests": digests(split) | {"student": card.sha256, "teacher": old_card.sha256},
    }  # fmt: skip
    with whole(out) as folder:
        copy_model(places[winner], folder)
        write_json(folder / "verdict.json", content)
        title = f"Compression of the detector: the {winner} {'takes over' if promote else 'stays'}"
        reasons = [*content["reasons"], _worst_class(new, old)]
        (folder / "report.md").write_text(page(title, reasons, content["checks"], ("student", "teacher")))
    print("\n".join(content["reasons"]), flush=True)
    return out


def _ap(new: Rival, old: Rival, rules: Rules, params: Params) -> Check:
    found, margin = gain(new, old, rules), params.detection.compress.max_loss
    now, before = (averages(one.matched).ap for one in (new, old))
    rule = f"low end of the 95 % interval of the difference above {points(-margin)} points"
    return Check("AP", now, before, rule, found.low > -margin, f"the difference of AP lies in {between(found)}")


def _size(new: Rival, old: Rival, params: Params) -> Check:
    now, before, limit = new.parameters, old.parameters, params.detection.compress.smaller
    reason = f"it has {now:,} parameters, {before / now:.2f} times fewer than the teacher's {before:,}"
    return Check("size", now, before, f"at least {limit:g} times fewer parameters", before >= limit * now, reason)


def _speed(new: Rival, old: Rival, ratio: float, params: Params) -> Check:
    """The clock decides, but only its answer is kept; the numbers are counted operations."""
    limit, now, before = params.detection.compress.faster, new.operations, old.operations
    passed = latency.within(ratio, 1 / limit, now / before)
    rule = f"at least {limit:g} times faster for 1 and 32 images (the numbers: operations an image)"
    doubt = latency.doubt(passed, 1 / limit, now / before)
    reason = f"it is {'at least' if passed else 'less than'} {limit:g} times faster{doubt}"
    return Check("speed", now, before, rule, passed, reason)


def _reasons(promote: bool, checks: list[Check]) -> list[str]:
    if promote:
        return [f"The student takes its teacher's place: {'; '.join(one.reason for one in checks)}."]
    return ["The teacher stays.", *(f"{one.name}: {one.reason}" for one in checks if not one.passed)]


def _worst_class(student: Rival, teacher: Rival) -> str:
    """An average can hide a class: it is told, though no rule reads it."""
    now, before = (averages(one.matched).per_class for one in (student, teacher))
    pairs = {name: (before[name].ap50, now[name].ap50) for name in now}
    drops = {name: old - new for name, (old, new) in pairs.items() if old is not None and new is not None}
    if max(drops.values(), default=0.0) <= 0:
        return "No class loses AP50."
    worst = max(drops, key=lambda name: drops[name])
    return f"The class that loses most AP50 is {worst}: {points(drops[worst])} points."
