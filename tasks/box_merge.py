"""Which boxes of an image are kept: those of one detector, those that two agree on, those of two fused."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tasks.box_calibrate import scale_of
from tutelage.data.boxes import Found, overlap
from tutelage.data.pseudo_boxes import Verdict
from tutelage.metrics.box_thresholds import stac_filter
from tutelage.metrics.box_trust import agreed, fused

Merge = Literal["teacher", "agreed", "fused"]
TWINS = 0.5  # boxes of a class that overlap more are of one object
WEIGHTS = (0.9, 1.0)  # in the fusion, of the supervised detector and of the one that learned from the pool (DUG)


def merged(found: Sequence[Found], rules: Sequence[dict[str, Any]], rule: Merge) -> Verdict:
    """What becomes of the boxes that one detector (`teacher`) or two, the first teacher and this one, find in an image.

    `rules` are the calibrations of each, of boxes that one detector finds: so of two fused, one that the other does not
    find keeps its chance. Wang Z. et al., Data-Uncertainty Guided Multi-Phase Learning, CVPR 2021.
    https://arxiv.org/abs/2103.16368
    """
    if rule == "teacher":
        return judge_boxes(found[-1], rules[-1])
    if rule == "fused":
        chances = [one._replace(scores=scale_of(own)(one.scores)) for one, own in zip(found, rules, strict=True)]
        both = fused(chances, weights=WEIGHTS, absent=False)
        return _verdict(both, both.scores, rules[-1])
    said = [judge_boxes(one, own) for one, own in zip(found, rules, strict=True)]
    kept = [Found(one.found.places[one.kept], one.found.labels[one.kept], one.calibrated[one.kept]) for one in said]
    return _with_the_rest(agreed(*kept, iou=TWINS), said[-1])


def judge_boxes(found: Found, rules: dict[str, Any]) -> Verdict:
    """Which boxes of an image reach the threshold of their class."""
    return _verdict(found, scale_of(rules)(found.scores), rules)


def _verdict(found: Found, chance: np.ndarray, rules: dict[str, Any]) -> Verdict:
    limits = [row["threshold"] for row in rules["classes"]]
    closed = np.array([limit is None for limit in limits])[found.labels]
    if rules.get("rule") == "stac":  # every class has the same threshold
        kept = stac_filter(chance, tau=limits[0])
    else:
        kept = ~closed & (chance >= np.array([np.inf if limit is None else limit for limit in limits])[found.labels])
    reason = np.where(kept, "", np.where(closed, "class_rejected", "below_threshold")).tolist()
    trust = kept.astype(np.float32)
    return Verdict(found, chance, kept, reason, trust, trust, float(kept.any()))


def _with_the_rest(both: Found, teacher: Verdict) -> Verdict:
    """The boxes that were agreed on, and those of the teacher that lie on none of them, rejected."""
    same = teacher.found.labels[:, None] == both.labels[None]
    left = ~(same & (overlap(teacher.found.places, both.places) > TWINS)).any(1)
    rest = Found(teacher.found.places[left], teacher.found.labels[left], teacher.calibrated[left])
    found = Found(*(np.concatenate(pair) for pair in zip(both, rest, strict=True)))
    kept = np.arange(len(found.labels)) < len(both.labels)
    why = [reason or "not_agreed" for reason, some in zip(teacher.reason, left, strict=True) if some]
    trust = kept.astype(np.float32)
    return Verdict(found, found.scores, kept, [""] * len(both.labels) + why, trust, trust, float(kept.any()))
