"""How alike domains are, by what a frozen network sees in their images. Pure numpy."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tutelage.metrics.comparison import jensen_shannon


def domain_similarity(one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"], *, bins: int = 20) -> float:
    """1 less the Jensen-Shannon divergence in bits of the histograms of each feature, mean over features: 0 to 1.

    Ruder et al., Knowledge Adaptation, 2017, sec. 4.1, use it on the terms of texts. https://arxiv.org/abs/1702.02052
    """
    both = np.concatenate([one, other])
    divergences = []
    for column in range(both.shape[1]):
        edges = np.histogram_bin_edges(both[:, column], bins)
        counts = [np.histogram(sample[:, column], edges)[0] for sample in (one, other)]
        divergences.append(jensen_shannon(*counts) / math.log(2))
    return float(1 - np.mean(divergences))


def source_weights(
    sources: Sequence[Float[np.ndarray, "_ d"]], target: Float[np.ndarray, "m d"], *, bins: int = 20
) -> tuple[float, ...]:
    """Weights of several sources, in proportion to their similarity to the target; they sum to one."""
    alike = np.array([domain_similarity(source, target, bins=bins) for source in sources])
    total = alike.sum()
    return tuple((alike / total if total > 0 else np.full(len(alike), 1 / len(alike))).tolist())
