"""From scores to promises: a temperature, and per class the lowest threshold that keeps a precision.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, sec. 4.2. https://arxiv.org/abs/1706.04599
Clopper, Pearson, The Use of Confidence or Fiducial Limits, Biometrika 1934.
Wilks, The Large-Sample Distribution of the Likelihood Ratio, Annals of Mathematical Statistics 1938.

scipy.optimize is imported where it is used, and scipy.stats, which takes longer to load than a small round to label,
not at all: a quantile of a beta distribution is the inverse of the incomplete beta function.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import betaincinv, log_softmax, ndtri, softmax

from tutelage.metrics.arrays import check_between, check_labels, check_logits, check_probabilities
from tutelage.types import BadInput

TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What it takes for a pseudo-label of one class to be kept."""

    threshold: float | None  # calibrated score; None: nothing is kept
    evidence: Literal["class", "pooled", "none"]  # whose hold-out samples it rests on
    samples: int  # of the hold-out, predicted as the class with a score of `floor` or more: others prove nothing
    kept: int  # of them at or above the threshold
    correct: int  # of the kept
    lower_bound: float  # on the precision, of the evidence


def fit_temperature(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """The T that minimises the negative log-likelihood of softmax(logits / T). 1 where there is nothing to fit.

    Samples that are all right speak for any lower T, and would make every score certain: they too leave 1. Raises
    BadInput where a logit is NaN, or a label no class.
    """
    from scipy.optimize import minimize_scalar

    _check(logits, labels)
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    low, high = (math.log(t) for t in TEMPERATURES)
    return float(math.exp(minimize_scalar(_surprise(logits, labels), bounds=(low, high), method="bounded").x))


def cautious_temperature(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], temperature: float, confidence: float
) -> float:
    """The highest T that the samples do not refute with `confidence`: at which the log-likelihood is at most z^2 / 2
    below that of the fitted `temperature` (Wilks; one-sided). Of many samples it is that temperature.

    A hundred samples fit a temperature to a fifth or so, and a promise by scores fails where it was too low. Raises
    BadInput where a logit is NaN, a label no class, or `confidence` not between 0 and 1.
    """
    from scipy.optimize import brentq

    _check(logits, labels)
    check_between(confidence=confidence)
    allowed, surprise = max(0.0, float(ndtri(confidence))) ** 2 / 2, _surprise(logits, labels)
    least = math.log(temperature)
    limit, high = surprise(least) + allowed, math.log(TEMPERATURES[1])
    if surprise(high) <= limit:
        return TEMPERATURES[1]
    return float(math.exp(brentq(lambda log_t: surprise(log_t) - limit, least, high)))


def _check(logits: np.ndarray, labels: np.ndarray) -> None:
    check_logits(logits)
    check_labels(labels, len(logits), logits.shape[1])
    if np.isnan(logits).any():
        raise BadInput("logits hold NaN: a temperature is fitted to numbers. Look at the network and its images")


def _surprise(logits: np.ndarray, labels: np.ndarray) -> Callable[[float], float]:
    """The negative log-likelihood of all samples, of the logarithm of a temperature."""

    def nll(log_t: float) -> float:
        rows = log_softmax(logits / math.exp(log_t), axis=1)
        return float(-rows[np.arange(len(labels)), labels].sum())

    return nll


def calibrated(logits: Float[np.ndarray, "n c"], temperature: float) -> Float[np.ndarray, "n c"]:
    """softmax(logits / T), float32. Raises BadInput for what is no array of floats."""
    check_logits(logits)
    soft: np.ndarray = softmax(logits.astype(np.float64) / temperature, axis=1)
    return soft.astype(np.float32)


def alignment(probabilities: Float[np.ndarray, "n c"], wanted: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """Factors that make the mean of `probabilities`, scaled by them and to rows of one, equal to `wanted`.

    It assumes that the pool has the classes as often as `wanted` says. A fixed point, found by iteration: each pass
    multiplies a class by how much too rare it is (Berthelot et al., AdaMatch, ICLR 2022, sec. 3.2, made exact).
    Raises BadInput where rows are no distributions.
    """
    check_probabilities(probabilities)
    factors = np.ones(probabilities.shape[1])
    for _ in range(50 if len(probabilities) else 0):
        seen = aligned(probabilities, factors).mean(axis=0)
        factors *= (wanted + 1e-6) / (seen + 1e-6)
    return factors


def aligned(probabilities: Float[np.ndarray, "n c"], factors: Float[np.ndarray, " c"]) -> Float[np.ndarray, "n c"]:
    """`probabilities` times `factors`, rows scaled to one again, float32."""
    moved = probabilities * factors
    scaled: np.ndarray = moved / moved.sum(axis=1, keepdims=True)
    return scaled.astype(np.float32)


def precision_bound(correct: int, kept: int, confidence: float) -> float:
    """One-sided Clopper-Pearson lower bound on a precision of which `correct` out of `kept` were seen. 0 for none."""
    return float(betaincinv(correct, kept - correct + 1, 1 - confidence)) if correct else 0.0


def samples_needed(target: float, confidence: float) -> int:
    """The fewest images, all of them right, that prove `target`: log(1 - confidence) / log(target), rounded up."""
    return math.ceil(math.log(1 - confidence) / math.log(target) - 1e-9)


def lowest_threshold(
    scores: Float[np.ndarray, " n"],
    right: np.ndarray,
    *,
    target: float,
    confidence: float,
    floor: float,
) -> tuple[float, int, int, float] | None:
    """(threshold, kept, correct, bound) of the lowest score of `floor` or more whose bound meets `target`, or None.

    Scores are walked from the highest down; equal scores are kept or left together. The bound holds with `confidence`
    for each score by itself, not for the choice of the lowest, which is partly luck. At a confidence of 0.9 a tenth of
    runs may miss a target of 0.9; of 400 samples whose precision is 0.89 at every score a quarter do. Where the surer
    are right more often, as they mostly are, it is less.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    best = None
    for place in np.flatnonzero(np.append(scores[1:] < scores[:-1], True)[: len(scores)]):
        score = float(scores[place])
        if score < floor:
            break
        kept, correct = int(place) + 1, int(hits[place])
        bound = precision_bound(correct, kept, confidence)
        if bound >= target:
            best = (score, kept, correct, bound)
    return best


def promised_threshold(scores: Float[np.ndarray, " n"], worth: Float[np.ndarray, " n"], target: float) -> float:
    """The lowest score such that what it and all above it are `worth` averages `target`; above 1 where none is.

    Calibrated scores promise a precision without a label: their mean. `worth` is what they are at least.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, means = scores[order], np.cumsum(worth[order].astype(np.float64)) / np.arange(1, len(scores) + 1)
    last = np.append(ordered[1:] < ordered[:-1], True)[: len(ordered)]  # equal scores are kept or left together
    enough = np.flatnonzero(last & (means >= target))
    return float(ordered[enough[-1]]) if len(enough) else 2.0


class Guesses(NamedTuple):
    """The class that a network gives to each sample, and its calibrated score."""

    scores: Float[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]


def thresholds(
    probabilities: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], unseen: Float[np.ndarray, "m c"],
    cautious: Float[np.ndarray, "m c"], *, target: float, confidence: float, floor: float, cap: float,
) -> list[Threshold]:  # fmt: skip
    """One threshold a class, from calibrated hold-out probabilities and those of an `unseen` sample of the pool.

    `cautious` are those of the same sample by the cautious temperature: what its scores promise at least. Raises
    BadInput where rows are no distributions or a label is no class.
    """
    for name, some in (("probabilities", probabilities), ("unseen", unseen), ("cautious", cautious)):
        check_probabilities(some, name)
    check_labels(labels, len(probabilities), probabilities.shape[1])
    seen, asked = (Guesses(some.max(1, initial=0.0), some.argmax(1)) for some in (probabilities, unseen))
    worth = np.take_along_axis(cautious, asked.classes[:, None], axis=1)[:, 0]
    return class_thresholds(
        seen, seen.classes == labels, asked, worth, number=probabilities.shape[1],
        target=target, confidence=confidence, floor=floor, cap=cap,
    )  # fmt: skip


def class_thresholds(
    seen: Guesses, right: Bool[np.ndarray, " n"], unseen: Guesses, worth: Float[np.ndarray, " m"], *,
    number: int, target: float, confidence: float, floor: float, cap: float,
) -> list[Threshold]:  # fmt: skip
    """One threshold for each of `number` classes, from answers on the hold-out and on a sample of the pool.

    A class with enough samples to prove `target` is judged on its own. One with fewer takes the pooled threshold, but
    easy classes must not vouch for a hard one: it is raised above every mistake of its own class, and until what the
    class's own scores on the pool are `worth` promises at most half of the errors that the target allows, or they are
    at `cap`, as they must be where the pool was not asked. Where even the pooled samples prove nothing, only scores at
    `cap` and above the class's mistakes are kept. `cap` stands in for evidence and never lowers a threshold that has
    some. Raises BadInput where `target` or `confidence` is not between 0 and 1.
    """
    check_between(target=target, confidence=confidence)
    limits = {"target": target, "confidence": confidence, "floor": floor}
    pooled = lowest_threshold(seen.scores, right, **limits)
    found = []
    for c in range(number):
        mine, asked = seen.classes == c, unseen.classes == c
        promised = promised_threshold(unseen.scores[asked], worth[asked], (1 + target) / 2)
        unproven = cap if pooled is None else min(promised, cap)
        found.append(_of_class(seen.scores[mine], right[mine], pooled, unproven, limits))
    return found


def _of_class(
    scores: Float[np.ndarray, " n"],
    right: np.ndarray,
    pooled: tuple[float, int, int, float] | None,
    unproven: float,
    limits: dict[str, float],
) -> Threshold:
    samples = int((scores >= limits["floor"]).sum())
    if samples >= samples_needed(limits["target"], limits["confidence"]):
        own = lowest_threshold(scores, right, **limits)
        if own is None:
            return Threshold(threshold=None, evidence="class", samples=samples, kept=0, correct=0, lower_bound=0.0)
        value, kept, correct, bound = own
        return Threshold(
            threshold=value, evidence="class", samples=samples, kept=kept, correct=correct, lower_bound=bound
        )
    mistakes = scores[~right]
    above = float(np.nextafter(mistakes.max(), np.float32(2))) if len(mistakes) else 0.0
    least, bound = (0.0, 0.0) if pooled is None else (pooled[0], pooled[3])
    value = max(least, above, unproven)
    keep = scores >= value
    return Threshold(
        threshold=value,
        evidence="none" if pooled is None else "pooled",
        samples=samples,
        kept=int(keep.sum()),
        correct=int(right[keep].sum()),
        lower_bound=bound,
    )
