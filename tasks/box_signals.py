"""What the guard of detection watches. Every signal is read on the hold-out and the pool, never on the test split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from tasks.box_answers import find, marked, searched
from tasks.box_params import GuardBoxes
from tasks.box_training import pool_rows
from tasks.params import Params
from tasks.signals import FEW, Signal, class_divergence, empty, finite, named_of, not_finite
from tasks.text import percent
from tasks.training import learned_from_holdout, rows_of
from tutelage.data.boxes import Found, Given, objects_an_image
from tutelage.data.groups import units_of
from tutelage.data.manifest import classes_of
from tutelage.metrics.box_matching import match
from tutelage.metrics.coco import OVERLAPS, bootstrap_ap, matched, score
from tutelage.metrics.comparison import Units
from tutelage.models.files import load_detector

SAMPLE = 300  # pool images in which a student's boxes are looked at
RESAMPLES = 500


@dataclass(frozen=True)
class BoxSight:
    """What teacher and student find in the images that a guard may look at. None: the student finds nothing finite."""

    truth: list[Given]  # hold-out [h]
    holdout_teacher: list[Found]  # [h]
    holdout_student: list[Found] | None  # [h]
    sample: list[int]  # places in the pool [p]
    pool_student: list[Found] | None  # [p]
    broken: int  # numbers among the student's weights that are not finite
    learned: bool = False  # the student was trained on the hold-out: its boxes there prove nothing
    units: Units | None = None  # hold-out [h]: what each image is one of, where images come in groups

    def opinions(self, kept: Sequence[Found]) -> dict[int, Found]:
        """The student's surest boxes in the sample by place in the pool, of each class as many as the teacher kept."""
        if self.pool_student is None:
            return {}
        said = as_many(self.pool_student, [kept[place] for place in self.sample])
        return dict(zip(self.sample, said, strict=True))


def look(
    split: Path, table: pa.Table, models: tuple[Path, Path], kept: Sequence[Found], params: Params
) -> BoxSight:  # fmt: skip
    """Ask teacher and student about the hold-out, the student about an evenly spaced sample of the pool."""
    teacher, student = models
    pool, held = pool_rows(split, table), rows_of(table, "holdout")
    sample = np.linspace(0, len(kept) - 1, min(SAMPLE, len(kept))).astype(np.int64)
    truth = marked(split, table, "holdout").given if len(held) else []

    def found(model: Path, rows: np.ndarray) -> list[Found] | None:
        network, card = load_detector(model / "model.safetensors")
        if not_finite(network):
            return None
        return find(table, rows, network, card, compute=params.compute, batch=params.detection.label.batch)

    old, new = found(teacher, held), found(student, np.concatenate([held, pool[sample]]))
    assert old is not None, f"{teacher} has numbers that are not finite"  # a guard let it pass
    return BoxSight(
        truth=truth, holdout_teacher=old, holdout_student=None if new is None else new[: len(held)],
        sample=sample.tolist(), pool_student=None if new is None else new[len(held) :],
        broken=not_finite(load_detector(student / "model.safetensors")[0]), learned=learned_from_holdout(student),
        units=units_of(table["id"].take(pa.array(held)).to_pylist(), params.detection.split.groups),
    )  # fmt: skip


def measure(
    split: Path, table: pa.Table, boxes: tuple[Sequence[Found], Sequence[Found] | None], sight: BoxSight, params: Params
) -> dict[str, Signal]:
    """All signals of a round by name. `boxes` are those kept in the pool, image by image, and the round before's."""
    (kept, previous), limits, classes = boxes, params.detection.guard, classes_of(table)
    given = _labelled(split, table)
    some = np.array([len(one.labels) > 0 for one in kept], bool)
    said = _labels(kept)
    return {
        "empty": empty(some, limits.max_empty, what="box"),
        "class_divergence": class_divergence(
            said, given, limits.max_class_divergence, what="boxes"
        ),
        "boxes": _boxes(len(said) / len(kept), float(given.sum()), limits),
        "flips": _flips(previous, kept, limits),
        "not_finite": finite(sight.broken),
        "drop": _drop(sight, classes, params),
        "classes_named": _classes_named(sight, kept),
    }  # fmt: skip


def as_many(found: Sequence[Found], kept: Sequence[Found]) -> list[Found]:
    """The surest boxes of each class over all images, as many as are kept: two detectors' scores need no one scale."""
    labels, scores = _labels(found), np.concatenate([one.scores for one in found] or [np.zeros(0, np.float32)])
    chosen = np.zeros(len(labels), bool)
    for label, number in zip(*np.unique(_labels(kept), return_counts=True), strict=True):
        mine = np.flatnonzero(labels == label)
        chosen[mine[np.argsort(-scores[mine], kind="stable")][:number]] = True
    parts = np.split(chosen, np.cumsum([len(one.labels) for one in found])[:-1])
    return [Found(*(column[some] for column in one)) for one, some in zip(found, parts, strict=True)]


def changed_share(before: Sequence[Found], after: Sequence[Found]) -> float | None:
    """Share of the boxes of two rounds that only one has; None without boxes."""
    total = sum(len(one.labels) for one in (*before, *after))
    return 1 - 2 * len(in_both(before, after)) / total if total else None


def in_both(before: Sequence[Found], after: Sequence[Found]) -> Int[np.ndarray, " s"]:
    """The classes of the boxes that two rounds share: one of its class overlaps each by half."""
    shared = [np.zeros(0, np.int64)]
    for old, new in zip(before, after, strict=True):
        blank = (np.zeros(len(old.labels), bool), np.ones(len(old.labels), np.float32))
        shared.append(new.labels[match(Given(old.places, old.labels, *blank), new).right])
    return np.concatenate(shared)


def _labelled(split: Path, table: pa.Table) -> Float[np.ndarray, " c"]:
    """Objects of each class that an image has where it was looked for."""
    parts = [marked(split, table, role) for role in ("labelled", "holdout") if len(rows_of(table, role))]
    known = np.concatenate([searched(part, table) for part in parts])
    return objects_an_image([one for part in parts for one in part.given], known)


def _labels(found: Sequence[Found]) -> np.ndarray:
    return np.concatenate([one.labels for one in found] or [np.zeros(0, np.int64)])


def _boxes(pool: float, labelled: float, limits: GuardBoxes) -> Signal:
    fewest, most = limits.boxes
    if not labelled:
        return Signal(None, most, False, "the labelled images have no box to compare the number with")
    value = pool / labelled
    detail = (
        f"{pool:.2f} boxes an image were kept in the pool, a labelled one has {labelled:.2f}: {value:.2f} times as "
        f"many (limits {fewest:g} and {most:g})"
    )
    return Signal(value, most if value > fewest else fewest, not fewest <= value <= most, detail)


def _flips(previous: Sequence[Found] | None, kept: Sequence[Found], limits: GuardBoxes) -> Signal:
    limit = limits.max_flips
    share = None if previous is None else changed_share(previous, kept)
    if share is None:
        why = "the first round has no boxes to compare with" if previous is None else "neither round kept a box"
        return Signal(None, limit, False, why)
    detail = f"{percent(share)} of the kept boxes are of one of the last two rounds only (limit {percent(limit)})"
    return Signal(share, limit, share > limit, detail)


def _drop(sight: BoxSight, classes: list[str], params: Params) -> Signal:
    """A breach is a drop above the limit that chance does not explain: a few objects are no evidence, and no more are
    many frames of one video."""
    limit, most = params.detection.guard.max_drop, params.detection.evaluate.max_detections
    objects = any((~one.crowd).any() for one in sight.truth)
    if sight.holdout_student is None or not objects or sight.learned:
        why = "the student has learned from the hold-out" if sight.learned else "the student cannot answer"
        return Signal(None, limit, False, f"{why if objects else 'the hold-out has no object'}: no AP50 was compared")
    old, new = sight.holdout_teacher, sight.holdout_student
    before, after = (score(sight.truth, said, classes, max_detections=most).ap50 for said in (old, new))
    assert before is not None
    assert after is not None
    now, then = (matched(sight.truth, said, classes, max_detections=most, overlaps=OVERLAPS[:1]) for said in (new, old))
    gain = bootstrap_ap(now, then, resamples=RESAMPLES, seed=params.seed, units=sight.units)
    detail = (
        f"on {len(sight.truth)} hold-out images the teacher's AP50 is {100 * before:.1f}, the student's "
        f"{100 * after:.1f} (a breach is a drop above {100 * limit:g} points with a 95 % interval below 0; it is "
        f"{100 * gain.low:.1f} to {100 * gain.high:.1f})"
    )
    return Signal(before - after, limit, before - after > limit and gain.high < 0, detail)


def _classes_named(sight: BoxSight, kept: Sequence[Found]) -> Signal:
    """A collapsed student finds few classes, where the hold-out and its teacher know of more."""
    if sight.holdout_student is None or sight.pool_student is None:
        return Signal(None, FEW, False, "the student cannot answer")
    known = {int(label) for one in sight.truth for label in one.labels}
    known |= set(_labels([kept[place] for place in sight.sample]).tolist())
    named = set(_labels([*sight.holdout_student, *sight.pool_student]).tolist()) & known
    return named_of(len(named), max(len(known), 1), len(sight.truth) + len(sight.sample))
