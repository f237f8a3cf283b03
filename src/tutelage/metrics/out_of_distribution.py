"""Which images of a pool are of none of the classes ("out of distribution"): how far their embeddings lie from those of
labelled images, and how far is too far. Pure numpy. Letters in shapes: n images, d width, c classes.

Lee, Lee, Lee, Shin, A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018, eq. 1 and 2, on
the last embedding alone. https://arxiv.org/abs/1807.03888
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tutelage.types import BadInput


@dataclass(frozen=True)
class Known:
    """Labelled images as a network sees them: a Gaussian a class, all of one shape."""

    means: Float[np.ndarray, "c d"]  # of the classes that have an image
    precision: Float[np.ndarray, "d d"]  # inverse of the covariance around them

    def distance(self, embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Squared Mahalanobis distance to the nearest class, float32 (eq. 2, without its sign)."""
        rows = unit(embeddings)
        # Multiplied out, for differences of all pairs of image and class would be [n, c, d].
        seen, around = rows @ self.precision, self.means @ self.precision
        squares = (seen * rows).sum(axis=1)[:, None] - 2 * seen @ self.means.T + (around * self.means).sum(axis=1)
        nearest: np.ndarray = np.maximum(squares.min(axis=1), 0).astype(np.float32)
        return nearest


def known(embeddings: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> Known:
    """What labelled images tell; a class may have one, all together two or more. Raises BadInput where each lies on its
    class's mean."""
    rows, classes = unit(embeddings), np.unique(labels)
    means = np.stack([rows[labels == each].mean(axis=0) for each in classes]) if len(classes) else rows
    around = rows - means[np.searchsorted(classes, labels)]
    if np.allclose(around, 0, atol=1e-9):
        raise BadInput(
            f"{len(rows)} labelled image(s) of {len(classes)} class(es) differ in nothing but their class, so nothing "
            "says what is far from them. Label more, or write calibrate.in_distribution: null"
        )
    return Known(means, np.linalg.inv(shrunk_covariance(around)))


def shrunk_covariance(centred: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """Covariance of rows whose mean is zero, as far shrunk to a multiple of the identity as its error calls for: it has
    an inverse even where rows are fewer than columns.

    Ledoit, Wolf, A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices, J. Multivariate Anal. 2004,
    lemma 3.1 to 3.4. https://doi.org/10.1016/S0047-259X(03)00096-4
    """
    number, width = centred.shape
    sample = centred.T @ centred / number
    scale = np.trace(sample) / width
    spread = np.square(sample - scale * np.eye(width)).sum()
    error = (np.square(np.square(centred).sum(axis=1)).sum() / number - np.square(sample).sum()) / number
    share = min(1.0, error / spread) if spread > 0 else 1.0
    shrunk: np.ndarray = share * scale * np.eye(width) + (1 - share) * sample
    return shrunk


def limit(holdout: Float[np.ndarray, " n"], keep: float) -> float:
    """The distance beyond which at most 1 - `keep` of the images of the classes are expected, from `holdout`'s.

    The k-th largest, k = floor((n + 1) (1 - keep)): of new images like the hold-out's, k / (n + 1) are expected beyond
    it, whatever the distances are. Split conformal prediction: Papadopoulos, Proedrou, Vovk, Gammerman, Inductive
    Confidence Machines for Regression, ECML 2002. Raises BadInput where the hold-out is too small for any limit.
    """
    if problem := too_few(len(holdout), keep):
        raise BadInput(problem)
    beyond = math.floor((len(holdout) + 1) * (1 - keep) + 1e-9)
    return float(np.sort(holdout)[-beyond])


def too_few(holdout: int, keep: float) -> str | None:
    """What is wrong with a hold-out of so many images; None where it can promise `keep`."""
    needed = math.ceil(1 / (1 - keep) - 1e-9) - 1
    if holdout >= needed:
        return None
    return (
        f"calibrate.in_distribution is {keep:g}, which takes {needed} hold-out images to promise, and there are "
        f"{holdout}. Raise split.holdout or split.labels_per_class, lower it, or write null"
    )


def unit(embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Each of length one, float64; zeros stay.

    Mueller, Hein, Mahalanobis++: Improving OOD Detection via Feature Normalization, ICML 2025.
    https://arxiv.org/abs/2505.18032
    """
    rows = embeddings.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: np.ndarray = rows / np.where(lengths > 0, lengths, 1)
    return scaled
