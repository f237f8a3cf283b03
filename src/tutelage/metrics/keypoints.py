"""How near key points are. Pure numpy."""

import numpy as np
from jaxtyping import Bool, Float


def pck(
    truth: Float[np.ndarray, "n j 2"], said: Float[np.ndarray, "n j 2"], *, visible: Bool[np.ndarray, "n j"],
    sides: Float[np.ndarray, " n"], alpha: float = 0.1,
) -> Float[np.ndarray, " j"]:  # fmt: skip
    """Of each point the share of its visible places within `alpha` x the longer side of the object's box; NaN of none.

    All lengths are of one unit. Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, TPAMI
    2013. https://doi.org/10.1109/TPAMI.2012.261
    """
    near = np.linalg.norm(said - truth, axis=-1) <= alpha * sides[:, None]
    seen = visible.sum(0)
    return np.where(seen > 0, (near & visible).sum(0) / np.maximum(seen, 1), np.nan)
