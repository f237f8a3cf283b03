"""How far each of many samples is from the rest, by detectors that nobody trains. Pure numpy.

Letters in shapes: n samples, d features. Higher is odder.
"""

import math

import numpy as np
from jaxtyping import Float, Int


def sampled_distance(
    features: Float[np.ndarray, "n d"], *, sample: int, draw: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Sp: distance to the nearest of `sample` samples drawn once for all, oneself left out. Needs two samples.

    Sugiyama, Borgwardt, Rapid Distance-Based Outlier Detection via Sampling, NIPS 2013, who draw 20.
    """
    places = draw.permutation(len(features))[: max(2, sample)]
    apart = np.linalg.norm(features[:, None] - features[places], axis=2)
    apart[places, np.arange(len(places))] = np.inf
    nearest: np.ndarray = apart.min(axis=1)
    return nearest


def isolation(
    features: Float[np.ndarray, "n d"], *, trees: int, size: int = 256, draw: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """2^(-mean depth / c), the depth at which random cuts isolate a sample over `trees` trees, each grown on `size`
    samples: near 1 for what is soon alone, 1/2 where nothing is odder than anything else. Needs two samples.

    Liu, Ting, Zhou, Isolation Forest, ICDM 2008, eq. 2. https://doi.org/10.1109/ICDM.2008.17
    """
    size = min(size, len(features))
    depths = np.zeros(len(features))
    for _ in range(trees):
        grown = features[draw.permutation(len(features))[:size]]
        _descend(grown, features, np.arange(len(features)), math.ceil(math.log2(size)), draw, depths)
    scores: np.ndarray = 2.0 ** (-depths / trees / path_length(size))
    return scores


def path_length(samples: int) -> float:
    """c(n) = 2 H(n - 1) - 2 (n - 1) / n, the mean depth of a search without success in a random tree of n samples."""
    if samples <= 2:
        return float(samples == 2)
    return 2 * (math.log(samples - 1) + float(np.euler_gamma)) - 2 * (samples - 1) / samples


def ranks(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Share of the others that score less, ties counting half: what makes scores of two detectors comparable."""
    order = np.sort(scores)
    below, until = (np.searchsorted(order, scores, side=side) for side in ("left", "right"))
    shares: np.ndarray = (below + until - 1) / (2 * max(1, len(scores) - 1))
    return shares


def _descend(
    grown: Float[np.ndarray, "m d"], features: Float[np.ndarray, "n d"], rows: Int[np.ndarray, " k"], left: int,
    draw: np.random.Generator, depths: Float[np.ndarray, " n"],
) -> None:  # fmt: skip
    """Add to `depths` how deep the samples `rows` go in a tree that is grown on `grown`. `left`: cuts to come."""
    low, high = grown.min(axis=0), grown.max(axis=0)
    uneven = np.flatnonzero(high > low)
    if left == 0 or not len(uneven):
        depths[rows] += path_length(len(grown))
        return
    feature = int(draw.choice(uneven))
    cut = draw.uniform(low[feature], high[feature])
    depths[rows] += 1
    for side in (True, False):
        mine = (grown[:, feature] <= cut) == side
        _descend(grown[mine], features, rows[(features[rows, feature] <= cut) == side], left - 1, draw, depths)
