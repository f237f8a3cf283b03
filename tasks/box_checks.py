"""What a detector must show on the test split before it takes another's place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.checks import SIGNIFICANCE, Check, Slice, latency_check, size_check, slice_check
from tasks.text import listed, points
from tutelage.data.boxes import Found
from tutelage.metrics.coco import OVERLAPS, Averages, Matched, averages, bootstrap_ap, bootstrap_class_ap, matched
from tutelage.metrics.comparison import Interval, Units, sign_test


@dataclass(frozen=True)
class Rival:
    """A detector with what it found in the test split, and what it costs."""

    name: str
    matched: Matched
    parameters: int
    operations: int  # floating point operations an image
    found: Sequence[Found] = ()  # what `matched` is of; slices of the test are matched anew


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is asked. Shares of AP, so 0.01 is one point."""

    margin: float = 0.0  # AP against the champion that the lower end of the interval may lack
    class_margin: float = 0.05  # AP50 that a class may lose
    latency_ratio: float = 1.5  # times the champion's time, and parameters
    resamples: int = 1000
    seed: int = 0
    units: Units | None = None  # what test images are drawn with


def gain(new: Rival, old: Rival, rules: Rules) -> Interval:
    """By how much the AP of `new` is higher."""
    return bootstrap_ap(new.matched, old.matched, resamples=rules.resamples, seed=rules.seed, units=rules.units)


def check(
    new: Rival, fair: Rival, old: Rival, progress: Interval, *, ratio: float | None, rules: Rules,
    found: Sequence[Slice] = (),
) -> list[Check]:  # fmt: skip
    """The rules in order: better than the fair baseline, then not inferior to the champion `old`, nor in `found`.

    `progress` is the `gain` of `new` on `fair`. `ratio` is the measured time of `new` over that of `old`; None where
    they are of one architecture.
    """
    now, before = averages(new.matched), averages(old.matched)
    plain = before if old is fair else averages(fair.matched)
    checks = [_beats(progress, now, plain)]
    if old is not fair:
        checks.append(_not_worse(gain(new, old, rules), now, before, rules))
    losses = bootstrap_class_ap(
        new.matched, old.matched, resamples=rules.resamples, seed=rules.seed,
        confidence=1 - SIGNIFICANCE / len(now.per_class), units=rules.units,
    )  # fmt: skip
    return [
        *checks,
        _classes(losses, now, before, rules),
        *slice_check("AP50", found, rules.class_margin),
        latency_check(new.operations, old.operations, ratio, rules.latency_ratio),
        size_check(new.parameters, old.parameters, rules.latency_ratio),
    ]


def _beats(found: Interval, now: Averages, before: Averages) -> Check:
    reason = f"the gain of AP lies in {between(found)}" + (
        ", clear of zero" if found.low > 0 else ": the baseline is better" if found.high < 0 else ": it may be luck"
    )
    rule = "AP against the supervised baseline: 95 % interval of the difference above 0"
    return Check("gain on the baseline", now.ap, before.ap, rule, found.low > 0, reason)


def _not_worse(found: Interval, now: Averages, before: Averages, rules: Rules) -> Check:
    rule = (
        f"AP against production: low end of the 95 % interval of the difference above {0 - 100 * rules.margin:g} points"
    )
    reason = f"the difference of AP lies in {between(found)}"
    return Check("AP", now.ap, before.ap, rule, found.low > -rules.margin, reason)


def _classes(losses: list[Interval | None], now: Averages, before: Averages, rules: Rules) -> Check:
    """A class fails on a loss of AP50 above the margin that chance does not explain: a few objects are none."""
    found = {name: one for name, one in zip(now.per_class, losses, strict=True) if one is not None}
    failed = [
        f"{name} ({100 * one.estimate:.1f} points on {now.per_class[name].objects} objects)"
        for name, one in found.items()
        if one.estimate < -rules.class_margin and one.high < 0
    ]
    worst = min(found, key=lambda name: found[name].estimate)
    numbers = now.per_class[worst].ap50, before.per_class[worst].ap50
    rule = (
        f"no class's AP50 falls by more than {100 * rules.class_margin:g} points beyond chance "
        f"(bootstrap, {SIGNIFICANCE:g} for all)"
    )
    reason = f"AP50 falls for {listed(failed)}" if failed else "no class loses AP50 beyond margin and chance"
    return Check(f"AP50, worst class {worst}", *numbers, rule, not failed, reason)


def slices(new: Rival, old: Rival, rows: Mapping[str, np.ndarray], rules: Rules) -> list[Slice]:
    """AP50 of both on images of each slice, by name. One without an object has none."""
    return [_slice(name, mine, new, old, SIGNIFICANCE / len(rows), rules) for name, mine in rows.items()]


def _slice(name: str, rows: np.ndarray, new: Rival, old: Rival, level: float, rules: Rules) -> Slice:
    """With draws as a class has, where its units are enough for the sign test to find a loss of all of them."""
    parts = [_part(one, rows) for one in (new, old)]
    now, before = (averages(one).ap for one in parts)
    units = None if rules.units is None else np.asarray(rules.units)[rows]
    number, lost = len(rows) if units is None else len(np.unique(units)), False
    if now is not None and before is not None and now < before and sign_test(number, 0) <= level:
        drawn = bootstrap_ap(
            *parts, resamples=max(rules.resamples, math.ceil(10 / level)), seed=rules.seed, confidence=1 - level,
            units=units,
        )  # fmt: skip
        lost = drawn.high < 0
    return Slice(name, len(rows), number, now, before, lost)


def _part(one: Rival, rows: np.ndarray) -> Matched:
    whole = one.matched
    return matched(
        [whole.given[row] for row in rows], [one.found[row] for row in rows], whole.classes,
        max_detections=whole.run.params.maxDets[0], overlaps=OVERLAPS[:1],
    )  # fmt: skip


def between(found: Interval) -> str:
    """The ends of an interval of AP, in words: to two digits, or one near zero would be read as zero."""
    return f"{points(found.low, digits=2)} to {points(found.high, digits=2)} points"
