"""How good a classifier's answers are, and how far its confidence can be believed. Pure numpy.

Letters in shapes: n images, c classes.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int, Shaped

from tutelage.metrics.arrays import check_labels, check_logits, check_probabilities
from tutelage.types import BadInput

Labels = Int[np.ndarray, " n"]


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Rows become distributions, in double precision. Raises BadInput for what is no array of floats."""
    check_logits(logits)
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    distribution: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return distribution


def accuracy(labels: Labels, predicted: Labels) -> float:
    """Share of the images whose class was named. Raises ValueError where there are none, BadInput for no labels."""
    check_labels(predicted, len(labels), name="predicted")
    check_labels(labels, len(predicted))
    if len(labels) == 0:
        raise ValueError("accuracy of no images is not a number")
    return float(np.mean(labels == predicted))


def confusion(labels: Labels, predicted: Labels, classes: int) -> Int[np.ndarray, "c c"]:
    """Counts; rows are the truth, columns the answer. Raises BadInput for what is none of `classes` classes."""
    check_labels(predicted, len(labels), classes, name="predicted")
    check_labels(labels, len(predicted), classes)
    cells = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)


def auroc(scores: Float[np.ndarray, " n"], positive: Shaped[np.ndarray, " n"]) -> float:
    """Chance that a positive scores above a negative, ties counting half: the area under the ROC curve.

    Hanley, McNeil, Radiology, 1982. Raises ValueError without both a positive and a negative, BadInput where `positive`
    is not True and False, or 1 and 0.
    """
    if not np.isin(positive, (0, 1)).all():
        raise BadInput(f"positive holds {np.unique(positive)[:5].tolist()}: give True for a positive, False for others")
    positive = np.asarray(positive).astype(bool)  # `~` of numbers would pick other scores, and say nothing
    order, number = np.sort(scores[~positive]), int((~positive).sum())
    if number in (0, len(scores)):
        raise ValueError(f"{len(scores) - number} positives and {number} negatives: an area needs one of each")
    below, until = (np.searchsorted(order, scores[positive], side=side) for side in ("left", "right"))
    return float(np.mean(below + until) / (2 * number))


@dataclass(frozen=True)
class PerClass:
    """One number a class; NaN where there is nothing to take a share of."""

    recall: Float[np.ndarray, " c"]  # of the images of the class, the share that was named so
    precision: Float[np.ndarray, " c"]  # of the images named so, the share that is of the class
    support: Int[np.ndarray, " c"]  # images of the class


def per_class(matrix: Int[np.ndarray, "c c"]) -> PerClass:
    """Recall, precision and support from a confusion matrix (rows: truth)."""
    hits, support = np.diag(matrix), matrix.sum(axis=1)
    return PerClass(_share(hits, support), _share(hits, matrix.sum(axis=0)), support)


def f1_score(
    hits: Int[np.ndarray, "..."], said: Int[np.ndarray, "..."], support: Int[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """F1 from counts that broadcast: 2 hits / (said + support), 0 where there are neither.

    `hits` images of the class were named so, `said` images in all were named so, `support` are of the class.
    Van Rijsbergen, Information Retrieval, 1979, ch. 7.
    """
    f1: np.ndarray = 2 * hits / np.maximum(said + support, 1)
    return f1


class Bin(TypedDict):
    """What a classifier promised and what it kept, over images of similar confidence."""

    confidence: float  # mean
    accuracy: float
    count: int


def reliability(probabilities: Float[np.ndarray, "n c"], labels: Labels, *, bins: int) -> list[Bin]:
    """The bins of a reliability diagram, in order, without the empty ones. Confidence is the highest probability.

    Bin m of M holds confidence in ((m-1)/M, m/M]: equal widths, so well-trained networks fill the last one most.
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3. https://arxiv.org/abs/1706.04599
    Raises BadInput where rows are no distributions or a label is no class.
    """
    _check(probabilities, labels)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    # One type for value and edge: 0.2 of single precision lies above 0.2 of double, and would change its bin.
    edges = (np.arange(1, bins) / bins).astype(confidence.dtype)
    place = np.digitize(confidence, edges, right=True)
    found: list[Bin] = []
    for m in np.unique(place):
        inside = place == m
        mean = float(confidence[inside].mean(dtype=np.float64))
        found.append({"confidence": mean, "accuracy": float(correct[inside].mean()), "count": int(inside.sum())})
    return found


def expected_calibration_error(probabilities: Float[np.ndarray, "n c"], labels: Labels, *, bins: int) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their images, in 0..1.

    Guo et al., ICML 2017, eq. 5. https://arxiv.org/abs/1706.04599
    An empty sum, 0, where there are no images.
    """
    gaps = (b["count"] * abs(b["accuracy"] - b["confidence"]) for b in reliability(probabilities, labels, bins=bins))
    return float(sum(gaps) / max(len(labels), 1))


def negative_log_likelihood(probabilities: Float[np.ndarray, "n c"], labels: Labels) -> float:
    """Mean of -log p(label), in nats. A probability of zero counts as the smallest number of single precision."""
    _check(probabilities, labels)
    if len(labels) == 0:
        raise ValueError("likelihood of no images is not a number")
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(given, np.finfo(np.float32).tiny)).mean())


def _check(probabilities: np.ndarray, labels: np.ndarray) -> None:
    check_probabilities(probabilities)
    check_labels(labels, len(probabilities), probabilities.shape[1])


def _share(part: Int[np.ndarray, " c"], whole: Int[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    share: np.ndarray = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share
