"""Which found boxes become pseudo-labels: from a promised precision, from counts, from two components, from one score.

All keep a box whose score is at or above the threshold of its class.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, logit

from tutelage.data.boxes import Found, Given
from tutelage.metrics.box_matching import match
from tutelage.metrics.calibration import Guesses, Threshold, class_thresholds

EDGE = 1e-6  # scores are kept this far from 0 and 1, where the logit is not finite
GRID = np.arange(10, 101, dtype=np.float32) / np.float32(100)
ROUNDS = 200  # of expectation and maximisation at most
NARROWEST = 1e-6  # variance of a component
FEWEST = 20  # boxes of a class that are told apart


class Platt(NamedTuple):
    """From a detector's score s to the chance that the box is right: sigmoid(scale * logit(s) + shift)."""

    scale: float
    shift: float

    def __call__(self, scores: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        odds = logit(np.clip(scores.astype(np.float64), EDGE, 1 - EDGE))
        calibrated: np.ndarray = expit(self.scale * odds + self.shift)
        return calibrated.astype(np.float32)


class Judged(NamedTuple):
    """The boxes found in images that people annotated, as one list. Boxes on crowds are neither and are left out."""

    guesses: Guesses
    right: Bool[np.ndarray, " n"]


class Mixture(NamedTuple):
    """A threshold, and where it is not the mixture's why; else ""."""

    threshold: float
    note: str


def judged(given: Sequence[Given], found: Sequence[Found], *, iou: float = 0.5) -> Judged:
    """Every box found in annotated images, and whether it found an object by COCO's rule at overlap `iou`."""
    matched = [match(*pair, iou=iou) for pair in zip(given, found, strict=True)]
    kept = [Found(*(c[~one.ignored] for c in boxes)) for boxes, one in zip(found, matched, strict=True)]
    right = [one.right[~one.ignored] for one in matched]
    return Judged(_guesses(kept), np.concatenate(right or [np.zeros(0, bool)]))


def fit_scores(scores: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> Platt:
    """The scale and shift that minimise the negative log-likelihood of what was right; no change without boxes.

    The scale is positive, so that no two boxes change their order; right and wrong count as (R + 1) / (R + 2) and
    1 / (W + 2), so that a detector that is always right is not certain.
    Platt, Probabilistic Outputs for Support Vector Machines, 1999, sec. 2.2.
    """
    if not len(scores):
        return Platt(1.0, 0.0)
    odds = logit(np.clip(scores.astype(np.float64), EDGE, 1 - EDGE))
    share = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def nll(x: np.ndarray) -> float:
        line = np.exp(x[0]) * odds + x[1]
        return -float((share * log_expit(line) + (1 - share) * log_expit(-line)).mean())

    best = minimize(nll, np.zeros(2), method="L-BFGS-B", bounds=[(-3.0, 3.0), (-20.0, 20.0)]).x
    return Platt(float(np.exp(best[0])), float(best[1]))


def thresholds(
    given: Sequence[Given], found: Sequence[Found], pool_found: Sequence[Found], classes: list[str], *,
    target: float, confidence: float, floor: float, cap: float, iou: float = 0.5,
) -> list[Threshold]:  # fmt: skip
    """One threshold a class that keeps the precision `target` at overlap `iou`, from the hold-out.

    `found` are the boxes of the hold-out's images, `pool_found` of a sample of the pool's, both with calibrated scores.
    The rule is `calibration.class_thresholds`, a sample being a box. Its bound takes boxes for independent, which those
    of one image are not quite.
    """
    (seen, right), unseen = judged(given, found, iou=iou), _guesses(pool_found)
    return class_thresholds(
        seen, right, unseen, unseen.scores, number=len(classes),
        target=target, confidence=confidence, floor=floor, cap=cap,
    )  # fmt: skip


def count_matched(wanted: Float[np.ndarray, " c"], found: Sequence[Found]) -> Float[np.ndarray, " c"]:
    """Per class, the score of 0.10, 0.11 .. 1.00 above which an image of the pool has as many boxes as a labelled one.

    `wanted` is what a labelled image has (boxes.objects_an_image), `found` the pool's. Of equally near scores the
    highest is taken; of a class without labelled objects, or an empty pool, 1. Wang Z. et al., Data-Uncertainty Guided
    Multi-Phase Learning for Semi-Supervised Object Detection, CVPR 2021. https://arxiv.org/abs/2103.16368
    """
    guesses = _guesses(found)
    limits = np.ones(len(wanted))
    for c, number_wanted in enumerate(wanted):
        scores = np.sort(guesses.scores[guesses.classes == c])
        number = (len(scores) - np.searchsorted(scores, GRID)) / max(len(found), 1)
        if number_wanted:
            limits[c] = round(float(GRID[::-1][np.abs(number - number_wanted)[::-1].argmin()]), 2)
    return limits


def mixture_thresholds(found: Sequence[Found], classes: list[str], *, fallback: float) -> list[Mixture]:
    """Per class, the score from which a box rather belongs to the upper of two Gaussians than to the lower.

    Both are fitted to the class's scores by expectation and maximisation, started at the lowest and the highest score.
    A class with fewer than `FEWEST` boxes, or whose scores do not part, takes `fallback`.
    Wang X. et al., Consistent-Teacher, CVPR 2023. https://arxiv.org/abs/2209.01589
    """
    guesses = _guesses(found)
    return [_mixture(guesses.scores[guesses.classes == c], fallback) for c in range(len(classes))]


def stac_filter(scores: Float[np.ndarray, " k"], *, tau: float = 0.9) -> Bool[np.ndarray, " k"]:
    """Which boxes of one image are kept: those from min(tau, the image's highest score) on, so at least one of any.

    Sohn et al., A Simple Semi-Supervised Learning Framework for Object Detection, 2020.
    https://arxiv.org/abs/2005.04757. The minimum is that of the authors' `get_pseudo_gt`.
    """
    kept: np.ndarray = scores >= min(tau, scores.max(initial=0.0))
    return kept


def _mixture(scores: Float[np.ndarray, " n"], fallback: float) -> Mixture:
    if len(scores) < FEWEST:
        return Mixture(fallback, f"{len(scores)} boxes are fewer than {FEWEST}")
    x = scores.astype(np.float64)
    mean, variance, share = np.array([x.min(), x.max()]), np.full(2, max(x.var(), NARROWEST)), np.full(2, 0.5)
    for _ in range(ROUNDS):
        upper = expit(_odds(x, mean, variance, share))
        parts = np.stack([1 - upper, upper])  # [2, n]
        size = np.maximum(parts.sum(1), 1e-12)
        before, mean = mean, parts @ x / size
        variance = np.maximum((parts * (x - mean[:, None]) ** 2).sum(1) / size, NARROWEST)
        share = np.clip(size / len(x), 1e-12, 1.0)
        if np.abs(mean - before).max() < 1e-9:
            break
    low, high = (_odds(end[None], mean, variance, share)[0] for end in mean)
    if not (mean[0] < mean[1] and low < 0 < high):
        return Mixture(fallback, "the scores do not part into two components")
    return Mixture(float(brentq(lambda s: _odds(np.array([s]), mean, variance, share)[0], *mean)), "")


def _odds(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Log-odds of the upper component at each score."""
    parts = np.log(share) - np.log(variance) / 2 - (x[:, None] - mean) ** 2 / (2 * variance)
    odds: np.ndarray = parts[:, 1] - parts[:, 0]
    return odds


def _guesses(found: Sequence[Found]) -> Guesses:
    scores = np.concatenate([one.scores for one in found] or [np.zeros(0, np.float32)])
    return Guesses(scores, np.concatenate([one.labels for one in found] or [np.zeros(0, np.int64)]))
