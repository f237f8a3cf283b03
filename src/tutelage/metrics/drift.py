"""Do new images come from where the labelled ones came from, and if not, what has moved: looks, or the mix of classes?
Tests whose errors are controlled together. Pure numpy.

Rabanser, Günnemann, Lipton, Failing Loudly: Methods for Detecting Dataset Shift, NeurIPS 2019, test so too; what is
read from the verdict is ours. https://arxiv.org/abs/1810.11953
Letters in shapes: n and m images, d width, c classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp

from tutelage.types import BadInput, Shift

MIX, CONFIDENCE = "class mix", "confidence"
ADVICE: dict[Shift, str] = {
    "none": "Nothing has moved: go on as before.",
    "appearance": "Looks have moved: translate the source's images (cycada, bdl), or by their amplitude (fda).",
    "class mix": "Other classes are frequent: align predictions with the new mix (adamatch, pseudo_label.align).",
    "both": "Looks and classes have moved: train yourself on the target (mic, mean_teacher, adamatch).",
    "confidence": "Only the model's confidence has moved: calibrate it again, and watch.",
}  # fmt: skip


@dataclass(frozen=True)
class Window:
    """What is known of one set of images, none of which was trained on."""

    features: Mapping[str, Float[np.ndarray, "n _"]]  # by name; each is tested
    probabilities: Float[np.ndarray, "n c"]  # of the model


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """When to fire."""

    level: float = 0.01  # chance that any of the tests fires where nothing has moved
    draws: int = 999  # of each permutation test
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.level * (self.draws + 1) < 8:
            raise BadInput(
                f"level is {self.level} and draws {self.draws}: the least p-value is 1 / (draws + 1), and several "
                "tests share the level. Raise draws to 8 / level or more"
            )


@dataclass(frozen=True)
class Finding:
    """One comparison of two windows."""

    name: str
    statistic: float
    p: float  # chance of as large a statistic where nothing has moved
    fires: bool


@dataclass(frozen=True)
class Drift:
    """What was seen, and what to do."""

    kind: Shift
    tests: list[Finding]  # on the windows as they are
    again: list[Finding]  # where looks and classes both seemed to move: each once more without the other's part
    mix: Float[np.ndarray, " c"]  # share of each class in the new window, where looks have not moved

    @property
    def advice(self) -> str:
        return ADVICE[self.kind]


def drift(
    source: Window, labels: Int[np.ndarray, " n"], new: Window, *, alarm: Alarm,
    restyled: Float[np.ndarray, "m c"] | None = None,
) -> Drift:  # fmt: skip
    """Compare a `new` window with `source`, whose classes are `labels` and are the only ones that are read.

    Looks that move also move predictions, and classes that become frequent bring their looks along. So where both seem
    to have moved, looks are tested against source images in the new window's estimated mix, and the mix by `restyled`,
    what the model says of the new images in the source's style (tutelage.data.fourier).
    """
    rng = np.random.default_rng(alarm.seed)
    seen = source.probabilities.argmax(axis=1), new.probabilities.argmax(axis=1)
    classes = source.probabilities.shape[1]
    mix = class_mix(labels, seen[0], seen[1], classes)
    sure = ks_2samp(source.probabilities.max(axis=1), new.probabilities.max(axis=1))
    raw = _looks(source, new, alarm, rng)
    raw[MIX] = class_test(*seen, classes=classes, draws=alarm.draws, rng=rng)
    raw[CONFIDENCE] = float(sure.statistic), float(sure.pvalue)
    tests = holm(raw, alarm.level)
    fired = {test.name for test in tests if test.fires}
    looks, moved, again = bool(fired & source.features.keys()), MIX in fired, list[Finding]()
    if looks and moved:
        kept = matched(labels, mix, rng)
        part = Window({name: rows[kept] for name, rows in source.features.items()}, source.probabilities[kept])
        again = holm(_looks(part, new, alarm, rng), alarm.level)
        looks = any(test.fires for test in again)
        if looks and restyled is not None:
            told = class_test(seen[0], restyled.argmax(axis=1), classes=classes, draws=alarm.draws, rng=rng)
            again += holm({MIX: told}, alarm.level)
            moved = again[-1].fires
    return Drift(_kind(looks, moved, CONFIDENCE in fired), tests, again, mix)


def energy_test(
    one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"], *, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Energy distance of two samples, each feature scaled to its spread over both, and its p by permutation.

    2 E|X - Y| - E|X - X'| - E|Y - Y'|. Szekely and Rizzo, Energy statistics, J. Stat. Plan. Inference 2013, eq. 6.
    https://doi.org/10.1016/j.jspi.2013.03.018
    """
    both = np.concatenate([one, other]).astype(np.float64)
    spread = both.std(axis=0)
    scaled = both / np.where(spread > 0, spread, 1)
    apart = cdist(scaled, scaled)
    member = np.zeros((draws + 1, len(both)))
    member[0, : len(one)] = 1
    for row in range(1, draws + 1):
        member[row, rng.permutation(len(both))[: len(one)]] = 1
    to_one = member @ apart
    inside, every = (to_one * member).sum(axis=1), to_one.sum(axis=1)
    n, m = len(one), len(other)
    outside = apart.sum() - 2 * every + inside
    distances = 2 * (every - inside) / (n * m) - inside / n**2 - outside / m**2
    return float(distances[0]), _p(distances)


def class_test(
    one: Int[np.ndarray, " n"], other: Int[np.ndarray, " m"], *, classes: int, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Pearson's chi square of two samples' classes, and its p by permutation, which holds for rare classes too."""
    counts = np.stack([np.bincount(sample, minlength=classes) for sample in (one, other)])
    whole = counts.sum(axis=0)
    drawn = rng.multivariate_hypergeometric(whole, len(one), size=draws)
    first = np.concatenate([counts[:1], drawn])
    share = len(one) / len(np.concatenate([one, other]))
    known = whole > 0
    expected = share * whole[known]
    squares = np.square(first[:, known] - expected) / (expected * (1 - share))
    statistics = squares.sum(axis=1)
    return float(statistics[0]), _p(statistics)


def class_mix(
    labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], new: Int[np.ndarray, " m"], classes: int
) -> Float[np.ndarray, " c"]:
    """Share of each class among new images that look as the labelled ones do, from what a model predicts of both.

    Solves confusion @ ratio = shares of predictions for ratios >= 0. Lipton, Wang, Smola, Detecting and Correcting for
    Label Shift with Black Box Predictors (BBSE), ICML 2018, prop. 2. https://arxiv.org/abs/1802.03916
    """
    joint = np.zeros((classes, classes))
    np.add.at(joint, (predicted, labels), 1 / len(labels))
    ratio, _ = nnls(joint, np.bincount(new, minlength=classes) / len(new))
    shares = ratio * joint.sum(axis=0)
    mix: np.ndarray = shares / shares.sum() if shares.sum() > 0 else np.full(classes, 1 / classes)
    return mix


def matched(
    labels: Int[np.ndarray, " n"], mix: Float[np.ndarray, " c"], rng: np.random.Generator
) -> Int[np.ndarray, " k"]:
    """As many rows as there are to have the classes in the shares of `mix`, drawn without replacement; at least two."""
    have = np.bincount(labels, minlength=len(mix))
    wanted = (mix > 0) & (have > 0)
    size = float((have[wanted] / mix[wanted]).min()) if wanted.any() else 0.0
    take = np.where(wanted, np.floor(np.minimum(have, mix * size + 1e-9)), 0).astype(int)
    rows = [rng.permutation(np.flatnonzero(labels == label))[:number] for label, number in enumerate(take)]
    kept: np.ndarray = np.sort(np.concatenate(rows))
    return kept if len(kept) > 1 else np.arange(len(labels))


def holm(raw: Mapping[str, tuple[float, float]], level: float) -> list[Finding]:
    """Statistics and p-values by name -> which fire, so that the chance that any does by luck is at most `level`.

    Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 1979.
    """
    fires, left = dict.fromkeys(raw, False), len(raw)
    for name in sorted(raw, key=lambda name: raw[name][1]):
        if raw[name][1] > level / left:
            break
        fires[name], left = True, left - 1
    return [Finding(name, *raw[name], fires[name]) for name in raw]


def _looks(one: Window, other: Window, alarm: Alarm, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    return {
        name: energy_test(rows, other.features[name], draws=alarm.draws, rng=rng) for name, rows in one.features.items()
    }


def _p(statistics: Sequence[float] | Float[np.ndarray, " k"]) -> float:
    """Of the first, among all: never 0. Rounding must not make equal ones larger."""
    values = np.asarray(statistics)
    return float(np.mean(values >= values[0] - 1e-9 * abs(values[0])))


def _kind(looks: bool, mix: bool, confidence: bool) -> Shift:
    if looks or mix:
        return "both" if looks and mix else "appearance" if looks else "class mix"
    return "confidence" if confidence else "none"
