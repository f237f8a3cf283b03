"""What the guard watches. Every signal is read on the hold-out and the pool, never on the test split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from tasks.params import Guard
from tasks.text import percent
from tasks.training import labels_of, learned_from_holdout, rows_of
from tutelage.data.groups import units_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.data.pseudo_labels import beyond
from tutelage.metrics.classification import accuracy
from tutelage.metrics.comparison import Units, changes, flip_share, jensen_shannon, sign_test
from tutelage.models.files import load_model
from tutelage.train.predict import predict
from tutelage.train.settings import Compute

SAMPLE = 2000  # pool images on which a student's answers are looked at
BATCH = 256
SIGNIFICANCE = 0.05  # of the sign test: what chance explains more often than that is no breach
FEW = 0.5  # share of the classes that a student must still name
STUDENTS_FAULT = frozenset({"not_finite", "drop", "classes_named"})  # a breach of these refuses the student at once


@dataclass(frozen=True)
class Signal:
    """One number against its limit. `detail` says it in a sentence."""

    value: float | None  # None: there was nothing to measure it on
    limit: float
    breached: bool
    detail: str


@dataclass(frozen=True)
class Sight:
    """What teacher and student say of the images that a guard may look at. None: the student has none."""

    truth: np.ndarray  # hold-out [h]
    holdout_teacher: np.ndarray  # [h]
    holdout_student: np.ndarray | None  # [h]
    pool_ids: list[str]  # sample [p]
    pool_teacher: np.ndarray  # [p]
    pool_student: np.ndarray | None  # [p]
    broken: int  # numbers among the student's weights and answers that are not finite
    learned: bool = False  # the student was trained on the hold-out: its answers there prove nothing
    units: Units | None = None  # hold-out [h]: what each image is one of, where images come in groups

    @property
    def opinions(self) -> dict[str, int]:
        """The student's label of the pool's sample, by id; none where it cannot answer."""
        if self.pool_student is None:
            return {}
        return dict(zip(self.pool_ids, self.pool_student.tolist(), strict=True))


def look(table: pa.Table, teacher: Path, student: Path, compute: Compute, *, groups: str | None = None) -> Sight:
    """Ask both networks about the hold-out and an evenly spaced sample of the pool. `groups` as split.groups."""
    holdout, pool = rows_of(table, "holdout"), rows_of(table, "pool")
    sample = pool[np.linspace(0, len(pool) - 1, min(SAMPLE, len(pool))).astype(np.int64)]
    rows = np.concatenate([holdout, sample])

    def answers(model: Path) -> tuple[np.ndarray | None, int]:
        network, card = load_model(model / "model.safetensors")
        wrong = not_finite(network)
        if wrong:
            return None, wrong
        images = Images.open(table, card.image_size)
        logits = predict(network, images, rows, compute=compute, batch=BATCH)
        broken = int((~np.isfinite(logits)).sum())
        return (None if broken else logits.argmax(axis=1)), broken

    old, teacher_broken = answers(teacher)
    assert old is not None, f"{teacher} has {teacher_broken} numbers that are not finite"  # a guard let it pass
    new, broken = answers(student)
    cut = len(holdout)
    ids = table["id"].take(pa.array(sample)).to_pylist()
    return Sight(
        truth=labels_of(table, holdout),
        holdout_teacher=old[:cut],
        holdout_student=None if new is None else new[:cut],
        pool_ids=ids,
        pool_teacher=old[cut:],
        pool_student=None if new is None else new[cut:],
        broken=broken,
        learned=learned_from_holdout(student),
        units=units_of(table["id"].take(pa.array(holdout)).to_pylist(), groups),
    )


def measure(
    table: pa.Table, answers: pa.Table, previous: np.ndarray | None, sight: Sight, limits: Guard
) -> dict[str, Signal]:
    """All signals of a round by name. `answers` (label, weight, reason) and `previous` (labels) are of the pool, in
    order."""
    # A label that a student learns from counts, whether it met its threshold or is soft with less weight.
    label, kept = answers["label"].to_numpy(), answers["weight"].to_numpy() > 0
    given = np.concatenate([labels_of(table, rows_of(table, role)) for role in ("labelled", "holdout")])
    classes, full = len(classes_of(table)), beyond(answers)
    return {
        # A teacher is as sure of what its class has no room for: it is no image without label.
        "empty": empty(kept | full, limits.max_empty, what="label, quotas aside" if full.any() else "label"),
        "class_divergence": class_divergence(
            label[kept], np.bincount(given, minlength=classes), limits.max_class_divergence
        ),
        "flips": _flips(previous, label, limits),
        "not_finite": finite(sight.broken),
        "drop": _drop(sight, limits),
        "classes_named": _classes_named(sight),
    }


def empty(kept: np.ndarray, limit: float, *, what: str = "label") -> Signal:
    """`kept` says of each pool image whether it has any label, or box."""
    share = float(1 - kept.mean())
    return Signal(share, limit, share > limit, f"{percent(share)} of the pool got no {what} (limit {percent(limit)})")


def class_divergence(kept: np.ndarray, given: np.ndarray, limit: float, *, what: str = "labels") -> Signal:
    """Classes of all kept labels, or boxes, against how often people gave each [c]."""
    if not len(kept) or not given.any():
        why = f"people gave no {what}" if len(kept) else f"no {what} were kept"
        return Signal(None, limit, False, f"{why}, so there is no class histogram")
    value = jensen_shannon(np.bincount(kept, minlength=len(given)), given)
    detail = f"kept {what}' classes diverge from the labelled set's by {value:.3f} nats (limit {limit:g})"
    return Signal(value, limit, value > limit, detail)


def finite(broken: int) -> Signal:
    """Of a student with so many numbers that are not finite."""
    return Signal(
        broken, 0, broken > 0, f"{broken} of the student's numbers {'is' if broken == 1 else 'are'} not finite"
    )


def _flips(previous: np.ndarray | None, label: np.ndarray, limits: Guard) -> Signal:
    limit = limits.max_flips
    if previous is None:
        return Signal(None, limit, False, "the first round has no labels to compare with")
    share = flip_share(previous, label)
    detail = f"{percent(share)} of the pool changed its label since the last round (limit {percent(limit)})"
    return Signal(share, limit, share > limit, detail)


def _drop(sight: Sight, limits: Guard) -> Signal:
    """A breach is a drop above the limit that chance does not explain: of 100 images, one is no evidence, and no more
    are 100 frames of one video."""
    limit = limits.max_drop
    if sight.holdout_student is None or not len(sight.truth) or sight.learned:
        why = "the student has learned from the hold-out" if sight.learned else "the student cannot answer"
        why = why if len(sight.truth) else "the split has no hold-out"
        return Signal(None, limit, False, f"{why}, so student and teacher were not compared")
    old, new = sight.holdout_teacher == sight.truth, sight.holdout_student == sight.truth
    (lost, gained), (fewer, more) = changes(old, new), changes(old, new, units=sight.units)
    before, after = (accuracy(sight.truth, said) for said in (sight.holdout_teacher, sight.holdout_student))
    chance = sign_test(fewer, more)
    grouped = "" if sight.units is None else f", by groups {fewer} lost, {more} gained"
    detail = (
        f"on {_counted(len(old), 'hold-out image')} the teacher is right on {percent(before)}, the student "
        f"on {percent(after)}: {lost} lost, {gained} gained{grouped} (a breach is a drop above {percent(limit)} "
        f"with a sign test below {SIGNIFICANCE:g}; it is {chance:.3f})"
    )
    value = before - after
    return Signal(value, limit, value > limit and chance < SIGNIFICANCE, detail)


def _classes_named(sight: Sight) -> Signal:
    """A collapsed student answers with few classes, where the hold-out and its teacher know of more."""
    if sight.holdout_student is None or sight.pool_student is None:
        return Signal(None, FEW, False, "the student cannot answer")
    known = set(sight.truth) | set(sight.pool_teacher)
    named = set(sight.holdout_student) | set(sight.pool_student)
    return named_of(len(named), len(known), len(sight.truth) + len(sight.pool_ids))


def named_of(named: int, known: int, looked: int) -> Signal:
    """How many of the known classes a student names on the images that were looked at."""
    share, seen = named / known, f"{_counted(known, 'class', 'classes')} on {_counted(looked, 'image')}"
    detail = f"the student names {named} of {seen} (fewer than half: collapsed)"
    return Signal(share, FEW, share < FEW, detail)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def not_finite(network: nn.Module) -> int:
    """How many of its numbers are not finite."""
    values = (v for v in network.state_dict().values() if v.is_floating_point())
    return sum(int((~torch.isfinite(v)).sum()) for v in values)
