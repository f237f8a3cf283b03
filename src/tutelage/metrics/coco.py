"""COCO's numbers for found boxes, from pycocotools, and intervals of what one detector gains on another.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014. https://arxiv.org/abs/1405.0312
Letters in shapes: s seeds, n images, k classes, t overlaps, d found boxes, r resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools.cocoeval import COCOeval
from scipy.sparse import csr_array

from tutelage.data.boxes import Found, Given
from tutelage.metrics.comparison import Interval, Units, interval, numbered
from tutelage.metrics.pycoco import evaluated, quietly
from tutelage.types import BadInput

SIDES = (32.0, 96.0)  # pixels of the squares that part small, medium and large objects
OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
HUGE = 1e5**2  # square pixels, larger than any image
CELLS = 4_000_000  # numbers that a block of resamples may hold at once


class ClassScore(NamedTuple):
    """How well one class is found; None where the images hold no object of it."""

    ap: float | None
    ap50: float | None
    objects: int  # crowds do not count


@dataclass(frozen=True, kw_only=True)
class Scores:
    """COCO's numbers, each in 0..1, or None where there is nothing to find."""

    ap: float | None  # mean over classes and the overlaps 0.50, 0.55 .. 0.95
    ap50: float | None
    ap75: float | None
    by_size: dict[str, float | None]  # AP of small, medium and large objects
    ar: dict[int, float | None]  # mean recall where an image has at most so many boxes a class
    ar_by_size: dict[str, float | None]  # at the most boxes
    per_class: dict[str, ClassScore]
    curves: dict[str, Float[np.ndarray, " 101"]]  # by class: precision at overlap 0.5 at recalls 0, 0.01 .. 1


class Averages(NamedTuple):
    """The first of COCO's numbers."""

    ap: float | None
    per_class: dict[str, ClassScore]


def score(
    given: Sequence[Given], found: Sequence[Found], classes: list[str], *, max_detections: int = 100,
    sizes: tuple[float, float] = SIDES,
) -> Scores:  # fmt: skip
    """COCO's numbers of what was `found` in n images in which people marked what is `given`.

    An image without objects counts: what is found in it is wrong. A crowd is never missed, and what lies on it is
    neither right nor wrong. Of each image and class the `max_detections` surest boxes count. `sizes` are the sides, in
    pixels, of the squares that part small from medium and medium from large.

    Raises BadInput where the images differ in number, a label is no class of the training, or a number is not finite.
    """
    small, large = sizes[0] ** 2, sizes[1] ** 2
    areas = [[0.0, HUGE], [0.0, small], [small, large], [large, HUGE]]
    limits = sorted({limit for limit in (1, 10, max_detections) if limit <= max_detections})
    run = evaluated(given, found, classes, areas=areas, limits=limits, overlaps=OVERLAPS)
    quietly(run.accumulate)
    precision, recall = run.eval["precision"], run.eval["recall"]  # [t, 101, k, area, limit], [t, k, area, limit]
    best, last = precision[:, :, :, 0, -1], {"small": 1, "medium": 2, "large": 3}
    per_class = _per_class(best, given, classes)
    return Scores(
        ap=_mean(best),
        ap50=_mean(best[0]),
        ap75=_mean(best[5]),
        by_size={name: _mean(precision[..., place, -1]) for name, place in last.items()},
        ar={limit: _mean(recall[:, :, 0, place]) for place, limit in enumerate(limits)},
        ar_by_size={name: _mean(recall[:, :, place, -1]) for name, place in last.items()},
        per_class=per_class,
        curves={name: best[0, :, k] for k, name in enumerate(classes) if per_class[name].objects},
    )


def widest(ar: Mapping[Any, float | None]) -> float | None:
    """AR where an image may have the most boxes. Limits are numbers, or texts where they come from JSON."""
    return ar[max(ar, key=int)]


@dataclass(frozen=True)
class Matched:
    """What a detector found in n images, matched with what people marked there: once, for all that is asked of it."""

    given: Sequence[Given]
    classes: list[str]
    run: COCOeval  # whatever an object's size


def matched(
    given: Sequence[Given], found: Sequence[Found], classes: list[str], *, max_detections: int = 100,
    overlaps: Float[np.ndarray, " t"] = OVERLAPS,
) -> Matched:  # fmt: skip
    """Of each image and class the `max_detections` surest boxes count. Raises BadInput as `score`."""
    run = evaluated(given, found, classes, areas=[[0.0, HUGE]], limits=[max_detections], overlaps=overlaps)
    return Matched(given, classes, run)


def averages(one: Matched) -> Averages:
    """`ap` and `per_class` of `score` alone, in a fraction of the time."""
    quietly(one.run.accumulate)
    best = one.run.eval["precision"][:, :, :, 0, 0]
    return Averages(_mean(best), _per_class(best, one.given, one.classes))


def bootstrap_ap(
    one: Matched | Sequence[Matched],
    two: Matched | Sequence[Matched] | None,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    units: Units | None = None,
) -> Interval:
    """How far the AP of detector `one` is above that of `two`, or above nothing, with a percentile interval.

    As `comparison.paired_bootstrap`: images are drawn with replacement, for both detectors and all their seeds
    together, by their `units` where given, and an AP is the mean over seeds. A detector is what it found in n images,
    or a list of such, one a seed.
    A draw counts each image as often as it was drawn. One without any object shows no difference of two detectors, or
    objects in a single image would prove every gain; it has no AP, so that of `one` alone it is left out. Of what was
    matched at overlap 0.5 alone it is the AP50.

    Raises BadInput where the images hold no object, or detectors were matched in different ones.
    """
    gain = _gain(one, two, _draws(one, resamples, seed, units))
    known = ~np.isnan(gain)
    mean = np.nansum(gain, axis=1) / np.maximum(known.sum(axis=1), 1)
    return _interval(mean if two is not None else mean[known.any(axis=1)], confidence)


def bootstrap_class_ap(
    one: Matched | Sequence[Matched],
    two: Matched | Sequence[Matched],
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    units: Units | None = None,
) -> list[Interval | None]:
    """The same for the AP50 of each class alone; None for a class of which the images hold no object."""
    gain = _gain(one, two, _draws(one, resamples, seed, units), overlaps=1)
    return [None if np.isnan(mine[0]) else _interval(np.nan_to_num(mine), confidence) for mine in gain.T]


class Ranked(NamedTuple):
    """One class as a detector finds it in n images: which boxes are right, surest first."""

    image: Int[np.ndarray, " d"]
    right: Bool[np.ndarray, "t d"]
    counted: Bool[np.ndarray, "t d"]  # False: on a crowd
    objects: Int[np.ndarray, " n"]


def _per_class(best: Float[np.ndarray, "t 101 k"], given: Sequence[Given], classes: list[str]) -> dict[str, ClassScore]:
    labels = [one.labels[~one.crowd] for one in given]
    objects = np.bincount(np.concatenate(labels or [np.zeros(0, np.int64)]), minlength=len(classes))
    return {
        name: ClassScore(_mean(best[:, :, k]), _mean(best[0, :, k]), int(objects[k])) for k, name in enumerate(classes)
    }


def _mean(values: np.ndarray) -> float | None:
    """COCO marks what is not there with -1."""
    known = values[values > -1]
    return float(known.mean()) if len(known) else None


def _draws(one: Matched | Sequence[Matched], resamples: int, seed: int, units: Units | None) -> Int[np.ndarray, "r n"]:
    """How often each image comes: once in the first row, which is what was measured, then as drawn."""
    given = _seeds(one)[0].given
    if not any((~one.crowd).any() for one in given):
        raise BadInput("the images hold no object, so that AP is no number. Annotate objects, or use other images")
    units = np.arange(len(given)) if units is None else numbered(units)
    n = int(units.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.concatenate([np.ones((1, len(given)), np.int64), drawn[:, units]])


def _gain(
    one: Matched | Sequence[Matched], two: Matched | Sequence[Matched] | None, drawn: Int[np.ndarray, "r n"], *,
    overlaps: int | None = None,
) -> Float[np.ndarray, "r k"]:  # fmt: skip
    """AP of `one` minus AP of `two`, mean over the first overlaps and over seeds; NaN where a draw has no object."""
    seeds = [*_seeds(one), *([] if two is None else _seeds(two))]
    if len({tuple(len(image.labels) for image in each.given) for each in seeds}) > 1:
        raise BadInput("detectors were matched in different images, so that no draw is of both. Test them on one split")
    better = _mean_ap(one, drawn, overlaps)
    return better if two is None else better - _mean_ap(two, drawn, overlaps)


def _mean_ap(
    detector: Matched | Sequence[Matched], drawn: Int[np.ndarray, "r n"], overlaps: int | None
) -> Float[np.ndarray, "r k"]:
    mean: np.ndarray = np.mean([_of_seed(one, drawn, overlaps) for one in _seeds(detector)], axis=0)
    return mean


def _seeds(detector: Matched | Sequence[Matched]) -> Sequence[Matched]:
    return [detector] if isinstance(detector, Matched) else detector


def _of_seed(one: Matched, drawn: Int[np.ndarray, "r n"], overlaps: int | None) -> Float[np.ndarray, "r k"]:
    n = len(one.given)
    ranked = [_of_class(one.run.evalImgs[k * n : (k + 1) * n], overlaps) for k in range(len(one.classes))]
    return np.stack([resampled_ap(each, drawn) for each in ranked], axis=1)


def _of_class(matched: Sequence[dict[str, Any] | None], overlaps: int | None) -> Ranked:
    """One class of `COCOeval.evalImgs`, in the order in which it accumulates, at the first overlaps."""
    some = [(image, one) for image, one in enumerate(matched) if one is not None]
    objects = np.zeros(len(matched), np.int64)
    for place, one in some:
        objects[place] = np.count_nonzero(one["gtIgnore"] == 0)
    if not some:
        return Ranked(np.zeros(0, np.int64), np.zeros((1, 0), bool), np.zeros((1, 0), bool), objects)
    order = np.argsort(-np.concatenate([one["dtScores"] for _, one in some]), kind="mergesort")
    image = np.repeat([place for place, _ in some], [len(one["dtScores"]) for _, one in some])[order]
    hit, ignored = (
        np.concatenate([one[key][:overlaps] for _, one in some], axis=1)[:, order].astype(bool)
        for key in ("dtMatches", "dtIgnore")
    )
    return Ranked(image, hit & ~ignored, ~ignored, objects)


def resampled_ap(found: Ranked, drawn: Int[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
    """AP of one class, mean over overlaps, where image i counts drawn[:, i] times; NaN without an object.

    Only right boxes matter: at them recall grows, and a wrong box never has the highest precision of those after it.
    So COCO's curve is evaluated there, for all draws at once.
    """
    spots = np.flatnonzero(found.right.any(axis=0))
    kinds = {row.tobytes(): row for row in found.counted}  # one for all overlaps, unless there are crowds
    before = {key: _before(found.image, row, spots, len(found.objects)) for key, row in kinds.items()}
    blocks = max(1, len(drawn) * len(spots) // CELLS)
    return np.concatenate(
        [_block_ap(found, spots, before, part) for part in np.array_split(drawn, min(blocks, len(drawn)))]
    )


def _before(
    image: Int[np.ndarray, " d"], counted: Bool[np.ndarray, " d"], spots: Int[np.ndarray, " s"], images: int
) -> csr_array:
    """How many counted boxes of each image lie after one spot of the ranking and not after the next [s n]."""
    place = np.searchsorted(spots, np.arange(len(image)))
    some = counted & (place < len(spots))
    return csr_array((np.ones(some.sum(), np.int64), (place[some], image[some])), shape=(len(spots), images))


def _block_ap(
    found: Ranked, spots: Int[np.ndarray, " s"], before: dict[bytes, csr_array], drawn: Int[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    objects = drawn @ found.objects
    total = np.zeros(len(drawn))
    seen = {key: np.cumsum(counts @ drawn.T, axis=0).T for key, counts in before.items()}
    for right, counted in zip(found.right, found.counted, strict=True):
        hits = np.cumsum(drawn[:, found.image[right]], axis=1)
        precision = hits / (seen[counted.tobytes()][:, right[spots]] + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, hits / np.maximum(objects, 1)[:, None], side="right")
        total += (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1)
    average: np.ndarray = np.where(objects > 0, total / (len(RECALLS) * len(found.right)), np.nan)
    return average


def _interval(gain: Float[np.ndarray, " r"], confidence: float) -> Interval:
    return interval(gain[:1], gain[1:], confidence)
