"""Why a found box is wrong, and what each kind of error costs.

TIDE: A General Toolbox for Identifying Object Detection Errors. Bolya et al. ECCV 2020.
https://arxiv.org/abs/2008.08115, sec. 2.2 (kinds) and 2.3 (what mending one kind gains).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from tutelage.data.boxes import Found, Given, overlap_or_cover
from tutelage.metrics.box_matching import match
from tutelage.metrics.coco import Ranked, resampled_ap

FOREGROUND, BACKGROUND = 0.5, 0.1  # overlaps from which a box is on an object, and up to which it is on none
KINDS = ("classification", "localisation", "both", "duplicate", "background")
ERRORS = (*KINDS, "missed")
_CLASS, _PLACE, _BOTH, _DUPLICATE, _BACKGROUND, _NONE = range(6)


class Wrong(NamedTuple):
    """What is wrong with each found box of an image, and which objects nobody found."""

    kind: Int[np.ndarray, " k"]  # place in KINDS; len(KINDS) where the box is right or on a crowd
    object: Int[np.ndarray, " k"]  # of a wrong class or place: the object that was meant, else -1
    missed: Bool[np.ndarray, " o"]  # objects not found, and not meant by a box of a wrong class or place


def wrong(given: Given, found: Found) -> Wrong:
    """The kinds of errors of one image.

    A box that is not right is, by the first rule that holds: badly placed (its class, overlap 0.1 to 0.5), badly
    classified (another class, 0.5 or more), a duplicate (its class, 0.5 or more, taken by a surer box), on the
    background (no object overlaps it by more than 0.1), or both badly placed and classified.
    """
    matched, shared = match(given, found, iou=FOREGROUND), overlap_or_cover(found.places, given)
    own = (found.labels[:, None] == given.labels[None]) & ~given.crowd[None]
    other = (found.labels[:, None] != given.labels[None]) & ~given.crowd[None]
    kind, meant = np.full(len(found.labels), _NONE), np.full(len(found.labels), -1)
    for k in np.flatnonzero(~matched.right & ~matched.ignored):
        near, apart = (np.where(some[k], shared[k], 0.0) for some in (own, other))
        best, strange = near.max(initial=0.0), apart.max(initial=0.0)
        if BACKGROUND <= best < FOREGROUND:
            kind[k], meant[k] = _PLACE, near.argmax()
        elif strange >= FOREGROUND:
            kind[k], meant[k] = _CLASS, apart.argmax()
        elif best >= FOREGROUND:
            kind[k] = _DUPLICATE
        else:
            kind[k] = _BACKGROUND if strange <= BACKGROUND else _BOTH
    missed = ~given.crowd
    missed[np.concatenate([matched.object[matched.right], meant[meant >= 0]])] = False
    return Wrong(kind, meant, missed)


def errors(given: Sequence[Given], found: Sequence[Found], *, floor: float = 0.5) -> dict[str, int]:
    """How many errors of each kind the boxes of score `floor` or more make in n images."""
    counts = dict.fromkeys(ERRORS, 0)
    for people, all_of in zip(given, found, strict=True):
        sure = Found(*(column[all_of.scores >= floor] for column in all_of))
        kind, _, missed = wrong(people, sure)
        for place, name in enumerate(KINDS):
            counts[name] += int((kind == place).sum())
        counts["missed"] += int(missed.sum())
    return counts


def costs(given: Sequence[Given], found: Sequence[Found], classes: list[str]) -> dict[str, float | None]:
    """The AP50 that the detector would gain without the errors of each kind; None where there is nothing to find.

    A badly placed or classified box gets the place or class of the object that it means, unless a surer box has that
    object, then it is removed, as are boxes with other errors. Of what was missed the objects are removed. Gains do
    not add up: a box mended may still be a surer mistake's neighbour.
    """
    before = ap50(given, found, classes)
    if before is None:
        return dict.fromkeys(ERRORS)
    said = [wrong(people, detector) for people, detector in zip(given, found, strict=True)]
    mended = {
        name: [_mend(*one, kind) for one in zip(given, found, said, strict=True)] for kind, name in enumerate(KINDS)
    }
    gains: dict[str, float | None] = {
        name: (ap50(given, boxes, classes) or 0.0) - before for name, boxes in mended.items()
    }
    rest = [Given(*(column[~one.missed] for column in people)) for people, one in zip(given, said, strict=True)]
    left = ap50(rest, found, classes)
    return gains | {"missed": (1.0 if left is None else left) - before}


def ap50(given: Sequence[Given], found: Sequence[Found], classes: list[str]) -> float | None:
    """COCO's AP50 of all boxes, sooner than by pycocotools; None where there is nothing to find."""
    if not given:
        return None
    matched = [match(*one, iou=FOREGROUND) for one in zip(given, found, strict=True)]
    labels, scores = (np.concatenate(column) for column in zip(*((f.labels, f.scores) for f in found), strict=True))
    right, ignored = (np.concatenate(column) for column in zip(*((m.right, m.ignored) for m in matched), strict=True))
    image, once = np.repeat(np.arange(len(found)), [len(f.labels) for f in found]), np.ones((1, len(found)), np.int64)
    objects = np.stack([np.bincount(g.labels[~g.crowd], minlength=len(classes)) for g in given])
    surest = np.argsort(-scores, kind="stable")
    each = []
    for k in np.flatnonzero(objects.any(axis=0)).tolist():
        own = surest[labels[surest] == k]
        each += resampled_ap(Ranked(image[own], right[None, own], ~ignored[None, own], objects[:, k]), once).tolist()
    return float(np.mean(each)) if each else None


def _mend(given: Given, found: Found, said: Wrong, kind: int) -> Found:
    places, labels = found.places.copy(), found.labels.copy()
    keep = said.kind != kind
    if kind in (_CLASS, _PLACE):
        taken = set(match(given, found, iou=FOREGROUND).object.tolist())
        for k in np.argsort(-found.scores, kind="stable"):
            meant = int(said.object[k])
            if said.kind[k] == kind and meant not in taken:
                taken.add(meant)
                keep[k], places[k], labels[k] = True, given.places[meant], given.labels[meant]
    return Found(places[keep], labels[keep], found.scores[keep])
