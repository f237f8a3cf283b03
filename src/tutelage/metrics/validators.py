"""Which of several adapted models to take, without a label of the target: what they answer there, and the source.

Musgrave et al., Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation, 2022,
compare such scores and find that none is always right, so three of them vote. https://arxiv.org/abs/2208.07360
Letters in shapes: n images of the target, c classes, d width. Pure numpy.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2
from scipy.stats import hypergeom, rankdata

from tutelage.metrics.classification import softmax
from tutelage.types import BadInput

STARTS = 5  # of k-means, each with a seed of its own: from one, agreement differed by 0.1 with the seed
VOTERS = ("information", "clusters", "agreement")  # density is told, but has ranked models the wrong way: docs/log.md


@dataclass(frozen=True)
class Scores:
    """What a model is worth by each validator. More is better."""

    information: float
    neighbourhood: float
    clusters: float
    agreement: float


@dataclass(frozen=True)
class Choice:
    """The order of the candidates, best first, without those that the guard refused."""

    ranking: list[str]
    refused: list[str]  # lost too much accuracy on the source
    mean_rank: dict[str, float]  # of the ranked, over the voters; 1 is best


def validate(logits: Float[np.ndarray, "n c"], embedding: Float[np.ndarray, "n d"]) -> Scores:
    """All scores of a model from what it says of target images. Raises BadInput where it says what is no number."""
    if not len(logits) or not np.isfinite(logits).all() or not np.isfinite(embedding).all():
        raise BadInput(
            f"a model answers on {len(logits)} target images with numbers that are not all finite, or there are none. "
            "Train it again at a lower learning rate, or hand in a pool"
        )
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    return Scores(
        information_maximisation(probabilities),
        soft_neighbourhood_density(probabilities),
        class_cluster_distance(embedding, predicted),
        class_cluster_agreement(embedding, predicted, classes=probabilities.shape[1]),
    )


def information_maximisation(probabilities: Float[np.ndarray, "n c"]) -> float:
    """Mutual information of image and class, nats, 0 to ln c: sure of each image, and not of one class for all.

    H(mean p) - mean H(p). Liang et al., Do We Really Need to Access the Source Data? (SHOT), ICML 2020, eqs. 2 and 3.
    https://arxiv.org/abs/2002.08546
    """
    return float(_entropy(probabilities.mean(axis=0, keepdims=True))[0] - _entropy(probabilities).mean())


def soft_neighbourhood_density(
    probabilities: Float[np.ndarray, "n c"], *, temperature: float = 0.05, limit: int = 2000
) -> float:
    """Mean entropy, nats, 0 to ln(n - 1), of how likely each other image is an image's neighbour: dense is good.

    Likelihood is the softmax of cosines of the probabilities over `temperature`. Of more than `limit` images, that many
    at even distances are taken: the table of pairs grows with the square.
    Saito et al., Tune it the Right Way, ICCV 2021, eqs. 1 to 4. https://arxiv.org/abs/2108.10860
    """
    chosen = probabilities[np.unique(np.linspace(0, len(probabilities) - 1, limit).astype(int))]
    unit = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
    alike = unit @ unit.T / temperature
    others = ~np.eye(len(alike), dtype=bool)
    if len(alike) < 2:
        return 0.0
    return float(_entropy(softmax(alike[others].reshape(len(alike), -1))).mean())


def class_cluster_distance(embedding: Float[np.ndarray, "n d"], predicted: Int[np.ndarray, " n"]) -> float:
    """Share, 0 to 1, of the spread of the embedding that lies between the means of the predicted classes.

    The ratio that Calinski and Harabasz, A dendrite method for cluster analysis, 1974, test, without their factor of
    the number of clusters. 0 where all are one class, or one point. https://doi.org/10.1080/03610927408827101
    """
    centred = embedding.astype(np.float64) - embedding.mean(axis=0, dtype=np.float64)
    whole = float(np.square(centred).sum())
    groups = [centred[predicted == label] for label in np.unique(predicted)]
    between = sum(len(group) * float(np.square(group.mean(axis=0)).sum()) for group in groups)
    return between / whole if whole > 0 else 0.0


def class_cluster_agreement(
    embedding: Float[np.ndarray, "n d"], predicted: Int[np.ndarray, " n"], *, classes: int
) -> float:
    """Adjusted mutual information, at most 1, of the predicted classes and as many clusters of the embedding.

    Clusters are those of k-means on embeddings of length one, the tightest of several starts by k-means++. 0 is chance.
    ClassAMI of Musgrave et al., sec. 3.2, the best of their comparison.
    """
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    unit = (embedding / np.where(lengths > 0, lengths, 1)).astype(np.float64)
    different = len(np.unique(unit, axis=0))
    if min(different, classes) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty", category=UserWarning)
        tries = [
            kmeans2(unit, min(different, classes), iter=30, minit="++", rng=np.random.default_rng(seed))
            for seed in range(STARTS)
        ]
    _, found = min(tries, key=lambda tried: float(np.square(unit - tried[0][tried[1]]).sum()))
    return adjusted_mutual_information(predicted, found)


def adjusted_mutual_information(first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"]) -> float:
    """How far two ways to part n images say the same: 1 where they do, 0 where they agree as often as by chance.

    (I - E I) / (mean of both entropies - E I), E over all tables with the same sums. 0 where nothing is parted.
    Vinh, Epps and Bailey, Information Theoretic Measures for Clusterings Comparison, JMLR 2010, eq. 24 and table 2
    (AMI sum). https://jmlr.org/papers/v11/vinh10a.html
    """
    n, (rows, columns) = len(first), (np.unique(part, return_inverse=True)[1] for part in (first, second))
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    sums = table.sum(axis=1), table.sum(axis=0)
    most = sum(float(_entropy(each[None] / n)[0]) for each in sums) / 2
    by_chance = sum(
        times * other * _information_by_chance(int(a), int(b), n)
        for a, times in zip(*np.unique(sums[0], return_counts=True), strict=True)
        for b, other in zip(*np.unique(sums[1], return_counts=True), strict=True)
    )
    shared = float(_terms(table, np.multiply.outer(*sums), n).sum())
    return float((shared - by_chance) / (most - by_chance)) if most - by_chance > 1e-12 else 0.0


def _information_by_chance(a: int, b: int, n: int) -> float:
    """Nats that a cell adds on average whose row has `a` and whose column `b` of n images."""
    counts = np.arange(max(1, a + b - n), min(a, b) + 1)
    return float((hypergeom.pmf(counts, n, a, b) * _terms(counts, np.array(a * b), n)).sum())


def _terms(counts: np.ndarray, products: np.ndarray, n: int) -> np.ndarray:
    """What cells add to mutual information, nats."""
    ratios = np.where(counts > 0, n * counts / products, 1.0)
    terms: np.ndarray = counts / n * np.log(ratios)
    return terms


def choose(
    scores: Mapping[str, Scores], source_accuracy: Mapping[str, float], *, reference: str, margin: float
) -> Choice:
    """Rank candidates by the mean of their ranks among VOTERS; equal ones in the order handed in.

    The guard refuses whoever is more than `margin` less accurate on held-out source images than `reference`, a model of
    the source alone, which is always a candidate itself. Raises BadInput where it is not among `scores`.
    """
    if reference not in scores or set(scores) != set(source_accuracy):
        raise BadInput(
            f"candidates are {sorted(scores)}, their accuracies {sorted(source_accuracy)}: both must be the same and "
            f"have {reference!r}, which the guard compares with"
        )
    limit = source_accuracy[reference] - margin
    kept = [name for name in scores if source_accuracy[name] >= limit]
    table = np.array([[getattr(scores[name], voter) for voter in VOTERS] for name in kept])
    ranks = rankdata(-table, axis=0).mean(axis=1)
    order = np.argsort(ranks, kind="stable")
    return Choice(
        ranking=[kept[place] for place in order],
        refused=[name for name in scores if name not in kept],
        mean_rank={kept[place]: float(ranks[place]) for place in order},
    )


def rank_correlation(scores: Mapping[str, float], truth: Mapping[str, float]) -> float | None:
    """Spearman's, -1 to 1, of scores with what candidates are truly worth; for reports alone.

    None with fewer than three candidates, or where one side has no order. KeyError for a candidate without truth.
    """
    if len(scores) < 3:
        return None
    said, true = (rankdata([values[name] for name in scores]) for values in (scores, truth))
    if not said.std() or not true.std():
        return None
    return float(np.corrcoef(said, true)[0, 1])


def _entropy(probabilities: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """Nats, over the last axis."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1))
    entropy: np.ndarray = -(probabilities * logs).sum(axis=-1)
    return entropy
