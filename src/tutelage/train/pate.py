"""Semi-supervised Knowledge Transfer for Deep Learning from Private Training Data. Papernot, Abadi, Erlingsson,
Goodfellow, Talwar. ICLR 2017. https://arxiv.org/abs/1610.05755

Teachers of disjoint shares of private images vote on public ones, and noise hides each teacher's vote. A student that
sees nothing but those labels is what may be published. Theorems and lemma are the paper's.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tutelage.methods.method import check
from tutelage.types import BadInput

_MOMENTS = 32  # orders of the moments that are tried


@dataclass(frozen=True, kw_only=True)
class PATE:
    """How many labels are asked of the teachers, and how noisy their vote is. The paper has 250 teachers."""

    __pydantic_config__ = {"extra": "forbid"}
    queries: int = 100  # images of the pool that are labelled; 100 on MNIST, 1000 on SVHN
    scale: float = 20.0  # of the Laplace noise on each class's votes, 1 / gamma; 0: plurality, and no privacy
    delta: float = 1e-5  # chance that the promise of epsilon may fail

    def __post_init__(self) -> None:
        check(self, weights=("scale",), positive=("queries", "delta"))
        if not self.delta < 1:
            raise BadInput(f"delta of PATE is {self.delta}: it is a chance, below 1. Leave it out for 1e-05")


class Spent(NamedTuple):
    """Bounds on epsilon after all queries, of (epsilon, delta)-differential privacy."""

    basic: float  # delta 0: 2 gamma a query
    moments: float  # theorem 2, whatever was voted
    votes: float  # theorem 3, from the votes; it tells something of private data itself


def shares(rows: Int[np.ndarray, " n"], number: int, rng: np.random.Generator) -> list[Int[np.ndarray, " _"]]:
    """`rows` dealt out at random: no row twice, sizes that differ by one at most. BadInput where one would get none."""
    if len(rows) < number:
        raise BadInput(f"{len(rows)} labelled images cannot be shared by {number} teachers. Take fewer, or label more")
    return [np.sort(part) for part in np.array_split(rng.permutation(rows), number)]


def votes(answers: Int[np.ndarray, "m n"], classes: int) -> Int[np.ndarray, "n c"]:
    """How many of `m` teachers answer each class, for each image. How sure they are does not count."""
    counts: np.ndarray = (answers[..., None] == np.arange(classes)).sum(0)
    return counts


def noisy_labels(counts: Int[np.ndarray, "n c"], *, scale: float, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """argmax_j n_j + Lap(scale) (eq. 1)."""
    labels: np.ndarray = (counts + rng.laplace(scale=scale, size=counts.shape)).argmax(1)
    return labels


def spent(counts: Int[np.ndarray, "n c"], *, scale: float, delta: float) -> Spent:
    """What has been told of any one private image by the noisy labels of `counts`. Infinite where `scale` is 0."""
    if scale == 0:
        return Spent(math.inf, math.inf, math.inf)
    gamma, orders = 1 / scale, np.arange(1, _MOMENTS + 1)
    plain = 2 * gamma**2 * orders * (orders + 1)  # theorem 2, of one query
    told = np.stack([np.minimum(plain, _moments(_surprise(row, gamma), gamma, orders)) for row in counts])
    basic = 2 * gamma * len(counts)
    moments, seen = (float(((total - math.log(delta)) / orders).min()) for total in (len(counts) * plain, told.sum(0)))
    return Spent(basic, moments, seen)


def _surprise(row: Int[np.ndarray, " c"], gamma: float) -> float:
    """Logarithm of a bound on the chance that noise makes another class win (lemma 4), which may be below any float."""
    behind = gamma * (row.max() - np.delete(row, row.argmax()))
    return float(np.logaddexp.reduce(np.log((2 + behind) / 4) - behind))


def _moments(log_chance: float, gamma: float, orders: Int[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
    """Theorem 3; infinite where it says nothing."""
    if log_chance >= -np.logaddexp(0, 2 * gamma):  # (e^2g - 1) / (e^4g - 1) is 1 / (1 + e^2g)
        return np.full(len(orders), np.inf)
    right, wrong = math.log1p(-math.exp(log_chance)), math.log1p(-math.exp(2 * gamma + log_chance))
    bound: np.ndarray = np.logaddexp((orders + 1) * right - orders * wrong, log_chance + 2 * gamma * orders)
    return bound
