"""What a candidate must show on the test split before it replaces a champion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks import latency
from tasks.answers import Answers, gained
from tasks.params import Params
from tasks.text import listed, percent
from tutelage.data.groups import sliced, units_of
from tutelage.metrics.classification import accuracy, confusion, expected_calibration_error, f1_score
from tutelage.metrics.comparison import Interval, changes, f1_gain, paired_bootstrap, sign_test
from tutelage.models.files import Card
from tutelage.types import Network

BINS = 15  # of the calibration error that is compared
SIGNIFICANCE = 0.05  # of the tests of all classes together


@dataclass(frozen=True)
class Contender:
    """A model with its answers on the test split."""

    name: str
    network: Network
    card: Card
    answers: Answers


@dataclass(frozen=True)
class Check:
    """One rule. Both numbers are as measured; no clock goes into them, so equal inputs give equal files."""

    name: str
    candidate: float | None
    champion: float | None
    rule: str
    passed: bool
    reason: str  # in a sentence, what was found


@dataclass(frozen=True)
class Slice:
    """Test images whose paths have one name in them, and how good both models are there; None where nothing says it."""

    name: str
    images: int
    units: int  # that they are drawn by
    candidate: float | None
    champion: float | None
    lost: bool  # the candidate is worse beyond chance

    @property
    def change(self) -> float:
        return 0.0 if self.candidate is None or self.champion is None else self.candidate - self.champion


def gain(new: Contender, old: Contender, params: Params) -> Interval:
    """By how much the errors of `new` are fewer than those of `old`, relative."""
    return gained(new.answers, old.answers, params).reduction


def check(new: Contender, fair: Contender, old: Contender, found: list[Slice], params: Params) -> list[Check]:
    """The rules in order: better than the fair baseline, then not inferior to the champion `old`, nor in `found`."""
    checks = [_beats(new, fair, params)]
    if old is not fair:
        checks.append(_not_worse(new, old, params))
    return [
        *checks,
        _classes(new, old, params),
        *slice_check("accuracy", found, params.judge.class_margin),
        _calibration(new, old, params),
        _latency(new, old, params),
        size_check(new.card.parameters, old.card.parameters, params.judge.latency_ratio),
    ]


def _beats(new: Contender, fair: Contender, params: Params) -> Check:
    found = gain(new, fair, params)
    ends = f"{percent(found.low, 2)} to {percent(found.high, 2)}"
    reason = f"the reduction of the error lies in {ends}" + (
        ", clear of zero" if found.low > 0 else ": the baseline is better" if found.high < 0 else ": it may be luck"
    )
    rule = "error reduction against the supervised baseline: 95 % interval above 0"
    return Check("gain on the baseline", *_accuracies(new, fair), rule, found.low > 0, reason)


def _not_worse(new: Contender, old: Contender, params: Params) -> Check:
    found, margin = gained(new.answers, old.answers, params).difference, params.judge.margin
    rule = f"accuracy against production: low end of the 95 % interval of the difference above {percent(-margin)}"
    reason = f"the difference of accuracy lies in {percent(found.low, 2)} to {percent(found.high, 2)}"
    return Check("accuracy", *_accuracies(new, old), rule, found.low > -margin, reason)


def _classes(new: Contender, old: Contender, params: Params) -> Check:
    """A class fails on a loss of F1 above the margin that chance does not explain: one image of a rare class is none.

    F1 and not recall: of two classes that look alike, the recall of one is had for that of the other.
    """
    names, margin, labels = new.card.classes, params.judge.class_margin, new.answers.labels
    now, before = (_f1(one.answers) for one in (new, old))
    tested = np.unique(labels).tolist()
    failed = [
        f"{names[place]} ({100 * (before[place] - now[place]):.1f} points on {int((labels == place).sum())} images)"
        for place in tested
        if now[place] - before[place] < -margin and _class_gain(new, old, place, params).high < 0
    ]
    worst = min(tested, key=lambda place: now[place] - before[place])
    rule = (
        f"no class's F1 falls by more than {100 * margin:g} points beyond chance (bootstrap, {SIGNIFICANCE:g} for all)"
    )
    reason = f"F1 falls for {listed(failed)}" if failed else "no class loses F1 beyond margin and chance"
    numbers = float(now[worst]), float(before[worst])
    return Check(f"F1, worst class {names[worst]}", *numbers, rule, not failed, reason)


def _f1(answers: Answers) -> np.ndarray:
    """Of each class."""
    cells = confusion(answers.labels, answers.predicted, answers.probabilities.shape[1])
    return f1_score(np.diag(cells), cells.sum(axis=0), cells.sum(axis=1))


def _class_gain(new: Contender, old: Contender, place: int, params: Params) -> Interval:
    """Of F1. The more classes, the farther out its ends lie: each has at least five draws beyond it."""
    answers, classes = new.answers, len(new.card.classes)
    return f1_gain(
        answers.labels, answers.predicted, old.answers.predicted, place,
        resamples=max(params.judge.resamples, math.ceil(10 * classes / SIGNIFICANCE)), seed=params.seed,
        confidence=1 - SIGNIFICANCE / classes, units=units_of(answers.ids, params.split.groups),
    )  # fmt: skip


def slices(new: Contender, old: Contender, params: Params) -> list[Slice]:
    """How accurate both are on each slice of the test, by name. None without `judge.slices`."""
    rows = sliced(new.answers.ids, params.judge.slices, "judge.slices")
    return [_slice(name, mine, new, old, len(rows), params) for name, mine in rows.items()]


def _slice(name: str, rows: np.ndarray, new: Contender, old: Contender, slices: int, params: Params) -> Slice:
    """With draws as a class has. Where all of three images are lost every draw is the same, and it may be chance: what
    so few say, the sign test knows.
    """
    now, before = (one.answers.right[rows] for one in (new, old))
    units, level = units_of([new.answers.ids[row] for row in rows], params.split.groups), SIGNIFICANCE / slices
    lost = sign_test(*changes(before, now, units=units)) <= level
    if lost:
        drawn = paired_bootstrap(
            now[None], before[None], resamples=max(params.judge.resamples, math.ceil(10 / level)), seed=params.seed,
            confidence=1 - level, units=units,
        )  # fmt: skip
        lost = drawn.difference.high < 0
    number = len(rows) if units is None else len(np.unique(units))
    return Slice(name, len(rows), number, float(now.mean()), float(before.mean()), lost)


def slice_check(measure: str, found: Sequence[Slice], margin: float) -> list[Check]:
    """A slice fails on a loss above the margin that chance does not explain. No check where there are no slices."""
    if not found:
        return []
    failed = [
        f"{one.name} ({-100 * one.change:.1f} points on {one.images} images)"
        for one in found
        if one.lost and one.change < -margin
    ]
    worst = min(found, key=lambda one: one.change)
    rule = f"no slice's {measure} falls by more than {100 * margin:g} points beyond chance ({SIGNIFICANCE:g} for all)"
    reason = f"{measure} falls for {listed(failed)}" if failed else f"no slice loses {measure} beyond margin and chance"
    return [Check(f"{measure}, worst slice {worst.name}", worst.candidate, worst.champion, rule, not failed, reason)]


def _calibration(new: Contender, old: Contender, params: Params) -> Check:
    now, before = (
        expected_calibration_error(one.answers.probabilities, one.answers.labels, bins=BINS) for one in (new, old)
    )
    margin = params.judge.calibration_margin
    rule = f"expected calibration error at most {margin:g} above the champion's"
    return Check(
        "calibration error", now, before, rule, now <= before + margin, f"it is {now:.3f}, and was {before:.3f}"
    )


def _latency(new: Contender, old: Contender, params: Params) -> Check:
    """Equal architectures are not measured: they cannot differ."""
    limit, ratio = params.judge.latency_ratio, None
    now, before = (latency.operations(one.network, one.card.image_size) for one in (new, old))
    if new.card.spec != old.card.spec:
        first, second = ((one.network, one.card.image_size) for one in (new, old))
        ratio = latency.measure(first, second, params.compute, ("candidate", old.name))
        print(f"latency: the candidate takes {ratio:.2f} times as long as the {old.name} (limit {limit:g})", flush=True)
    return latency_check(now, before, ratio, limit)


def latency_check(now: int, before: int, ratio: float | None, limit: float) -> Check:
    """`now` and `before` are operations an image, `ratio` the measured time over the champion's, None where they cannot
    differ. The clock decides, but only its answer is kept.
    """
    passed = ratio is None or latency.within(ratio, limit, now / before)
    rule = f"at most {limit:g} times the champion's time for 1 and 32 images (the numbers: operations an image)"
    reason = f"it takes {'at most' if passed else 'more than'} {limit:g} times as long"
    return Check("latency", now, before, rule, passed, reason)


def size_check(now: int, before: int, limit: float) -> Check:
    """Of parameters."""
    rule = f"at most {limit:g} times the champion's parameters"
    return Check(
        "size", now, before, rule, now <= limit * before, f"it has {now:,} parameters, the champion {before:,}"
    )


def _accuracies(new: Contender, old: Contender) -> tuple[float, float]:
    return accuracy(new.answers.labels, new.answers.predicted), accuracy(old.answers.labels, old.answers.predicted)
