"""Two classifiers on the same images: is one better, and is that more than luck? Pure numpy.

Letters in shapes: s seeds, n images, k classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Real, Shaped
from scipy.special import bdtrc

from tutelage.metrics.calibration import precision_bound
from tutelage.metrics.classification import f1_score
from tutelage.types import BadInput

CELLS = 4_000_000  # numbers that a block of resamples may hold at once
Units = Shaped[np.ndarray, " n"]  # what each image is drawn with, by number or name: frames of a video share it


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    estimate: float
    low: float
    high: float


class Comparison(NamedTuple):
    """What a candidate gains on a baseline."""

    difference: Interval  # of accuracy; above 0: the candidate is better
    reduction: Interval  # of error, relative to the baseline's; 0.2: a fifth of the baseline's errors are gone


def paired_bootstrap(
    candidate: Shaped[np.ndarray, "..."],
    baseline: Shaped[np.ndarray, "..."],
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    units: Units | None = None,
) -> Comparison:
    """Percentile intervals of the gain of `candidate`, from what each, [s, n], got right on the same n images.

    Images are drawn with replacement, for both classifiers and all their seeds together; a rate is the mean over
    seeds. So an interval says what other images of this kind might have shown of these trained models.
    A draw in which the baseline makes no error is divided by one error of one seed: a reduction stays finite, and is 0
    where the candidate makes none either.
    Images that resemble each other are drawn together by their `units`, or an interval would be too narrow.
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13 (percentile interval). Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, sec. 3.8 (units).
    Raises BadInput for no image, another shape or values that are not right or wrong.
    """
    candidate, baseline = _right(candidate), _right(baseline)
    if candidate.shape[1] != baseline.shape[1]:
        raise BadInput(f"{candidate.shape[1]} and {baseline.shape[1]} images: test both classifiers on the same")
    errors = [(~candidate).sum(axis=0), (~baseline).sum(axis=0)]  # [n] each, summed over seeds
    seeds = np.array([len(candidate), len(baseline)])
    measured, drawn = _resampled_sums([*errors, np.ones_like(errors[0])], resamples, seed, units)
    return Comparison(
        interval(_difference(measured, seeds), _difference(drawn, seeds), confidence),
        interval(_reduction(measured, seeds), _reduction(drawn, seeds), confidence),
    )


def accuracy_interval(
    correct: Bool[np.ndarray, "_ n"], *, resamples: int, seed: int, confidence: float = 0.95, units: Units | None = None
) -> Interval:
    """Percentile interval of the mean accuracy over seeds; images are drawn for all of them together, by `units`.

    Where all answers are right, or all wrong, every draw is the same: there it is Clopper and Pearson's, of the units.
    """
    if correct.all() or not correct.any():
        number = correct.shape[1] if units is None else len(np.unique(units))
        least = precision_bound(number, number, (1 + confidence) / 2)
        return Interval(1.0, least, 1.0) if correct.all() else Interval(0.0, 0.0, 1 - least)
    right = correct.sum(axis=0)
    measured, drawn = _resampled_sums([right, np.full_like(right, len(correct))], resamples, seed, units)
    return interval(measured[:, 0] / measured[:, 1], drawn[:, 0] / drawn[:, 1], confidence)


def changes(
    before: Bool[np.ndarray, " n"], after: Bool[np.ndarray, " n"], *, units: Units | None = None
) -> tuple[int, int]:
    """How many images are lost, right before and wrong after, and how many gained: what `sign_test` is asked about.

    With `units`, how many of these lost more images than they gained, and gained more than they lost: images that
    resemble each other are no tosses of their own.
    """
    net = after.astype(np.int64) - before.astype(np.int64)
    if units is not None:
        net = np.bincount(numbered(units), weights=net)
    return int((net < 0).sum()), int((net > 0).sum())


def numbered(units: Units) -> Int[np.ndarray, " n"]:
    """The same units as 0..k-1, in their order: one that is left out would be drawn as a unit of no image."""
    numbers: np.ndarray = np.unique(units, return_inverse=True)[1]
    return numbers


def sign_test(lost: int, gained: int) -> float:
    """Chance that a coin explains at least `lost` of `lost + gained` changed answers: small when losing is real.

    The exact one-sided McNemar test: only images that one classifier gets right and the other wrong speak.
    Of images that resemble each other `changes` counts units.
    """
    return float(bdtrc(lost - 1, lost + gained, 0.5)) if lost > 0 else 1.0


def f1_gain(
    labels: Int[np.ndarray, " n"],
    candidate: Int[np.ndarray, " n"],
    baseline: Int[np.ndarray, " n"],
    place: int,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    units: Units | None = None,
) -> Interval:
    """How far the F1 score of class `place` is above the baseline's, from classes said of the same n images.

    F1 as in `f1_score`. The interval is the percentile interval of `paired_bootstrap`.
    """
    mine = labels == place
    said = [(answer == place) for answer in (candidate, baseline)]
    measured, drawn = _resampled_sums([mine & said[0], said[0], mine & said[1], said[1], mine], resamples, seed, units)
    return interval(_f1_difference(measured), _f1_difference(drawn), confidence)


def jensen_shannon(first: Real[np.ndarray, " k"], second: Real[np.ndarray, " k"]) -> float:
    """Divergence of two class histograms in nats, from 0 (the same shares) to log 2 (no class in common).

    Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 1991, eq. 4.1 with equal weights.
    Raises ValueError for an empty histogram.
    """
    if first.sum() == 0 or second.sum() == 0:
        raise ValueError("divergence from an empty histogram is not a number")
    p, q = first / first.sum(), second / second.sum()
    return max(0.0, _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)  # rounding can fall below zero


def flip_share(before: Shaped[np.ndarray, " n"], after: Shaped[np.ndarray, " n"]) -> float:
    """Share of the images whose answer changed. Raises ValueError where there are none."""
    if len(before) == 0:
        raise ValueError("share of no images is not a number")
    return float(np.mean(before != after))


def _right(answers: Shaped[np.ndarray, "..."]) -> Bool[np.ndarray, "_ n"]:
    """Checked: `~` of numbers would count other errors, and say nothing."""
    if answers.ndim != 2 or not answers.size or not np.isin(answers, (0, 1)).all():
        raise BadInput(
            f"answers of shape {answers.shape} and type {answers.dtype}: give [seeds, images], True where an image is "
            "right, of at least one of each; of a single seed right[None]"
        )
    return answers.astype(bool)


def _resampled_sums(
    columns: Sequence[Shaped[np.ndarray, " n"]], resamples: int, seed: int, units: Units | None
) -> tuple[Int[np.ndarray, "1 d"], Int[np.ndarray, "r d"]]:
    """Sums of d columns, as they are and of `resamples` draws of n rows, or of as many units as there are.

    Few rows differ (with one seed four), so it draws how often each kind comes instead of n indices: the same
    distribution at a hundredth of the time and memory.
    """
    values = np.stack(columns, axis=1).astype(np.int64)
    if units is not None:
        rows, places = values, numbered(units)
        values = np.zeros((places.max() + 1, len(columns)), np.int64)
        np.add.at(values, places, rows)
    kinds, count = np.unique(values, axis=0, return_counts=True)
    rng, number, chances = np.random.default_rng(seed), len(values), count / len(values)
    blocks = np.diff([*range(0, resamples, max(1, CELLS // len(kinds))), resamples])
    drawn = [rng.multinomial(number, chances, size=size) @ kinds for size in blocks]
    return values.sum(axis=0)[None], np.concatenate(drawn)


def _difference(errors: Int[np.ndarray, "r 3"], seeds: Int[np.ndarray, " 2"]) -> np.ndarray:
    rates = errors[:, :2] / (seeds * errors[:, 2:])
    gain: np.ndarray = rates[:, 1] - rates[:, 0]
    return gain


def _reduction(errors: Int[np.ndarray, "r 3"], seeds: Int[np.ndarray, " 2"]) -> np.ndarray:
    some = np.maximum(errors[:, 1], 1)
    reduction: np.ndarray = errors[:, 1] / some - (errors[:, 0] / seeds[0]) / (some / seeds[1])
    return reduction


def _f1_difference(counts: Int[np.ndarray, "r 5"]) -> np.ndarray:
    f1 = f1_score(counts[:, [0, 2]], counts[:, [1, 3]], counts[:, 4:])
    difference: np.ndarray = f1[:, 0] - f1[:, 1]
    return difference


def interval(measured: np.ndarray, drawn: np.ndarray, confidence: float) -> Interval:
    """`measured` (one number) and the percentile interval of what the resamples gave."""
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(measured.item(), float(low), float(high))


def _entropy(p: np.ndarray) -> float:
    some = p[p > 0]
    return -float((some * np.log(some)).sum())
