"""How right strings are, and how hard a set of strings is to learn. A string is its symbols: a list of numbers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from tutelage.types import BadInput

String = Sequence[int]
NOTHING = -1  # stands where a string has ended and a thing is left
SMOOTHING = 1e-3  # of a symbol that was never seen beside another: a divergence stays finite


def edits(wanted: String, said: String) -> int:
    """Fewest symbols to insert, leave out or change (Levenshtein)."""
    above = list(range(len(wanted) + 1))
    for i, symbol in enumerate(said, start=1):
        row = [i]
        for j, other in enumerate(wanted, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (symbol != other)))
        above = row
    return above[-1]


def symbol_error_rate(wanted: Sequence[String], said: Sequence[String]) -> float:
    """Edits by symbols wanted; above 1 where more is said than there is. Raises BadInput where nothing is wanted."""
    total = sum(map(len, wanted))
    if not total:
        raise BadInput("no symbol is wanted, so there is no rate of errors. Give strings with one symbol or more")
    return sum(edits(*pair) for pair in zip(wanted, said, strict=True)) / total


def exact_match(wanted: Sequence[String], said: Sequence[String]) -> float:
    """Share of strings that are right as a whole."""
    return float(np.mean([list(one) == list(other) for one, other in zip(wanted, said, strict=True)]))


def similarity(wanted: String, said: String) -> float:
    """1 - edits by the longer length: 1 for equal strings, 0 for strings that share nothing.

    It stands in for the BLEU that Kim and Rush 2016, sec. 3.3, choose from a beam by: strings here are
    too short for it.
    """
    longer = max(len(said), len(wanted))
    return 1 - edits(wanted, said) / longer if longer else 1.0


def complexity(things: Sequence[String], strings: Sequence[String]) -> float:
    """C(d): entropy, in nats, of the symbol y written where there is thing x, mean over the kinds of things.

    0 where each thing has one symbol, whatever it is. Places are aligned one to one from the left, where the paper
    aligns words by a learned model. Zhou, Neubig, Gu, ICLR 2020, sec. 4.1. https://arxiv.org/abs/1911.02727
    """
    return float(np.mean([_entropy(counts) for counts in _beside(things, strings).values()]))


def faithfulness(things: Sequence[String], real: Sequence[String], distilled: Sequence[String]) -> float:
    """F(d): KL(p_real(y | x) || p_d(y | x)) in nats, mean over the kinds of things; 0 for the real strings themselves.

    Less is more faithful. Both are smoothed alike (`SMOOTHING`, ours). Zhou, Neubig, Gu, ICLR 2020, sec. 4.1.
    """
    ours, theirs = _beside(things, real), _beside(things, distilled)
    known = sorted({y for table in (ours, theirs) for counts in table.values() for y in counts})
    apart = []
    for x in ours:
        p, q = (_smoothed(table[x], known) for table in (ours, theirs))
        apart.append(float((p * np.log(p / q)).sum()))
    return float(np.mean(apart))


def _beside(things: Sequence[String], strings: Sequence[String]) -> defaultdict[int, Counter[int]]:
    """How often each symbol is written where there is a thing, or NOTHING where the string is shorter."""
    table: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for one, other in zip(things, strings, strict=True):
        for x, y in zip_longest(one, other[: len(one)], fillvalue=NOTHING):
            table[x][y] += 1
    if not table:
        raise BadInput(
            "there is no thing that a symbol could stand for: nothing to measure. Give rows of one thing or more"
        )
    return table


def _entropy(counts: Counter[int]) -> float:
    p = np.array(list(counts.values())) / counts.total()
    return float(-(p * np.log(p)).sum())


def _smoothed(counts: Counter[int], known: list[int]) -> np.ndarray:
    p = np.array([counts[y] for y in known]) + SMOOTHING
    shares: np.ndarray = p / p.sum()
    return shares
