"""Active learning: which images without a label to ask people about.

Citovsky et al., Batch Active Learning at Scale, NeurIPS 2021. https://arxiv.org/abs/2107.14263
"""

import numpy as np
from jaxtyping import Float, Int, Shaped


def top_two(probabilities: Float[np.ndarray, "n c"]) -> tuple[Int[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """The two likeliest classes of each image, the likelier first, and their probabilities. Of equals the first goes
    first; there are two classes or more."""
    classes = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    return classes, np.take_along_axis(probabilities, classes, axis=1)


def in_turns(key: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Places, lowest key first, where groups take turns: no group's second comes before another's first."""
    return np.lexsort((key, _turns(key, groups)))


def cluster_margin(
    embeddings: Float[np.ndarray, "n d"], margins: Float[np.ndarray, " n"], number: int
) -> Int[np.ndarray, " m"]:
    """Places of `number` images, one or more, that are no near-copies of each other, the smallest margin first; of
    fewer images, of all.

    Algorithm 2 of the paper: clusters of average linkage, the smallest first, take turns to give an image. Here the
    clusters are those of the candidates and not of the whole pool, as many as images are asked for, and what each gives
    is its smallest margin and not a random image. Memory grows with n squared.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    chosen = np.arange(len(margins))
    if number < len(margins):
        clusters = fcluster(linkage(embeddings, "average"), number, "maxclust")
        sizes = np.bincount(clusters)[clusters]
        chosen = np.lexsort((margins, sizes, _turns(margins, clusters)))[:number]
    ranked: np.ndarray = chosen[np.argsort(margins[chosen], kind="stable")]
    return ranked


def _turns(key: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many of its own group have a lower key."""
    order = np.lexsort((key, groups))
    _, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    turns = np.zeros(len(key), np.int64)
    turns[order] = np.arange(len(key)) - np.repeat(first, counts)
    return turns
