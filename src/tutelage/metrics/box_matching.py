"""Which of the boxes that a detector found are right. COCO's rule at one overlap, for one image.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, https://arxiv.org/abs/1405.0312; the rule itself is
`COCOeval.evaluateImg` of pycocotools, to which it is tested to be equal.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from tutelage.data.boxes import Found, Given, overlap_or_cover


class Matched(NamedTuple):
    """What became of each found box of an image, in the order in which it was found."""

    right: Bool[np.ndarray, " k"]  # it found an object of its class that no surer box had found
    ignored: Bool[np.ndarray, " k"]  # it lies on a crowd: neither right nor wrong
    object: Int[np.ndarray, " k"]  # place in Given of what it found, a crowd too; -1: nothing


def match(given: Given, found: Found, *, iou: float = 0.5) -> Matched:
    """Boxes, surest first, each take the object of their class that they overlap most, by at least `iou`.

    An object is found once; a crowd as often as one likes, but only by a box that finds no object.
    """
    shared = overlap_or_cover(found.places, given)
    fits = (found.labels[:, None] == given.labels[None]) & (shared >= min(iou, 1 - 1e-10))
    taken = np.full(len(found.labels), -1, np.int64)
    free = np.ones(len(given.labels), bool)
    surest = np.argsort(-found.scores, kind="stable")
    for place in surest[fits[surest].any(axis=1)]:  # most boxes lie on nothing of their class
        objects, crowds = fits[place] & free & ~given.crowd, fits[place] & given.crowd
        able = objects if objects.any() else crowds
        if able.any():
            most = shared[place][able].max()
            taken[place] = np.flatnonzero(able & (shared[place] == most))[-1]  # COCO: the last of equals
            free[taken[place]] = False
    on_crowd = (taken >= 0) & given.crowd[taken] if len(given.crowd) else np.zeros(len(taken), bool)
    return Matched((taken >= 0) & ~on_crowd, on_crowd, taken)
