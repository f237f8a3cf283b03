"""How far depth is off, over the pixels that were measured. Letters in shapes: h w pixels.

Eigen, Puhrsch, Fergus, Depth Map Prediction from a Single Image, NeurIPS 2014, sec. 4.
https://arxiv.org/abs/1406.2283
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tutelage.types import BadInput

NEAR = 1.25  # a pixel is right where the answer and the truth differ by less than this factor


class Errors(NamedTuple):
    """Of one image, or means over images."""

    abs_rel: float  # mean of |answer - truth| / truth
    rmse: float  # root of the mean squared difference, in the unit of the depth
    delta: float  # share of the pixels that are right


def errors(truth: Float[np.ndarray, "h w"], said: Float[np.ndarray, "h w"], *, align: bool = False) -> Errors | None:
    """Errors of one image where `truth` is above 0, which is where it was measured; None where it is so nowhere.

    With `align` the answer is first given the scale and shift that suit the image best (least squares): for answers
    that are depth up to both. Without, an answer of 0 or less is wrong.
    """
    measured = truth > 0
    if not measured.any():
        return None
    y, x = truth[measured].astype(np.float64), said[measured].astype(np.float64)
    if align:
        away = x - x.mean()
        x = y.mean() + away * (away @ y / max(away @ away, np.finfo(np.float64).tiny))  # of a flat answer, the mean
    apart = np.abs(x - y)
    factor = np.maximum(x / y, y / np.maximum(x, 1e-9))
    return Errors(float((apart / y).mean()), float(np.sqrt((apart**2).mean())), float((factor < NEAR).mean()))


def mean_errors(each: Sequence[Errors | None]) -> Errors:
    """Means over the images that were measured. Raises BadInput where none was."""
    measured = [one for one in each if one is not None]
    if not measured:
        raise BadInput(f"none of {len(each)} images has a depth above 0, so there is nothing to compare with")
    return Errors(*(float(np.mean(values)) for values in zip(*measured, strict=True)))
