"""What metrics of answers are handed, looked at first: of logits, per cent or labels from 1 numpy makes numbers."""

from typing import Any

import numpy as np

from tutelage.types import BadInput

OFF = 0.01  # how far the sum of a row of probabilities may be from 1: half precision rounds


def check_logits(logits: Any, name: str = "logits") -> None:
    """BadInput for what is no array of floats [n, c]."""
    _check_array(name, logits, 2, np.floating, "floats [n, c], a row an image")


def check_probabilities(probabilities: Any, name: str = "probabilities") -> None:
    """BadInput for what is no array of floats [n, c] whose rows are distributions."""
    _check_array(name, probabilities, 2, np.floating, "floats [n, c], a row an image")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~((np.abs(sums - 1) <= OFF) & (probabilities.min(axis=1, initial=0) >= -OFF))
    if wrong.any():
        raise BadInput(
            f"{name} have a row of {sums[wrong][0]:.4g} in all, from {probabilities[wrong][0].min():.4g} to "
            f"{probabilities[wrong][0].max():.4g}: a row is a distribution. Of logits take calibrated(logits, 1.0)"
        )


def check_labels(labels: Any, number: int, classes: int | None = None, name: str = "labels") -> None:
    """BadInput for what is no array of `number` integers, where `classes` is given in 0..classes-1."""
    _check_array(name, labels, 1, np.integer, f"integers [{number}], the class of each image")
    if len(labels) != number:
        raise BadInput(f"{name} are of {len(labels)} images and answers of {number}: give both of the same")
    if classes is None or not number:
        return
    for found in (int(labels.min()), int(labels.max())):
        if not 0 <= found < classes:
            raise BadInput(
                f"{name} hold {found}, but {classes} classes are 0 to {classes - 1}. Subtract 1 from labels that begin "
                "at 1, and leave out images without one"
            )


def check_between(**shares: float) -> None:
    """BadInput for a share that is not between 0 and 1."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise BadInput(f"{name} is {share}: it must be between 0 and 1, as 0.9. Divide per cent by 100")


def _check_array(name: str, given: Any, axes: int, kind: type[Any], rule: str) -> None:
    if not isinstance(given, np.ndarray):
        raise BadInput(f"{name} are a {type(given).__name__}: give an array of numpy. Of a tensor: .cpu().numpy()")
    if given.ndim != axes or not np.issubdtype(given.dtype, kind):
        raise BadInput(f"{name} are {given.dtype} of shape {given.shape}: give {rule}")
