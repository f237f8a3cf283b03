"""How well every pixel's class is named. Pure numpy. Letters in shapes: c classes, h w pixels.

Pixels whose true class is below 0 are nobody's business: neither right nor wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from tutelage.metrics.classification import confusion

Classes = Int[np.ndarray, "h w"]


@dataclass(frozen=True)
class Overlaps:
    """One number a class, NaN for a class that neither the truth nor the answer has."""

    iou: Float[np.ndarray, " c"]  # intersection over union of the pixels of all images together
    pixels: Int[np.ndarray, " c"]  # that are of the class

    @property
    def mean(self) -> float:
        """Mean IoU over the classes that there are; NaN where there are none."""
        there = self.iou[~np.isnan(self.iou)]
        return float(there.mean()) if len(there) else float("nan")


def count(truth: Classes, said: Classes, classes: int) -> Int[np.ndarray, "c c"]:
    """The confusion of one image's pixels; rows are the truth. Add those of many images: memory stays as it is."""
    judged = truth >= 0
    return confusion(truth[judged], said[judged], classes)


def overlaps(matrix: Int[np.ndarray, "c c"]) -> Overlaps:
    """IoU of each class from the confusion of all pixels.

    Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2015, sec. 4.4.
    https://doi.org/10.1007/s11263-014-0733-5
    """
    hits, truth = np.diag(matrix), matrix.sum(1)
    union = truth + matrix.sum(0) - hits
    return Overlaps(np.where(union > 0, hits / np.maximum(union, 1), np.nan), truth)


def boundary_f(
    pairs: Iterable[tuple[Classes, Classes]], classes: int, *, tolerance: float = 2.0
) -> Float[np.ndarray, " c"]:
    """F-score of each class's outline over pairs of truth and answer, NaN for a class that no image has.

    Precision is the share of the answer's outline that lies at most `tolerance` pixels from the truth's, recall the
    share of the truth's that lies so near to the answer's. An image counts for the classes that its truth or its
    answer has, with an F of 0 where only one of them has. What borders pixels that are nobody's business is no outline.

    Csurka, Larlus, Perronnin, What is a good evaluation measure for semantic segmentation?, BMVC 2013, sec. 3.
    https://doi.org/10.5244/C.27.32
    """
    total, images = np.zeros(classes), np.zeros(classes)
    for truth, said in pairs:
        judged = truth >= 0
        for label in range(classes):
            wanted, given = ((each == label) & judged for each in (truth, said))
            if (wanted | given).any():
                ours, theirs = (_outline(each | ~judged) & judged for each in (wanted, given))
                total[label] += 1.0 if (wanted == given).all() else _f(ours, theirs, tolerance)
                images[label] += 1
    return np.where(images > 0, total / np.maximum(images, 1), np.nan)


def _outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels of the mask beside a pixel that is not of it; the picture's edge is no outline."""
    outline: np.ndarray = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return outline


def _f(wanted: Bool[np.ndarray, "h w"], given: Bool[np.ndarray, "h w"], tolerance: float) -> float:
    if not wanted.any() or not given.any():
        return 0.0
    near = [ndimage.distance_transform_edt(~each) <= tolerance for each in (wanted, given)]
    precision, recall = float(near[0][given].mean()), float(near[1][wanted].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
