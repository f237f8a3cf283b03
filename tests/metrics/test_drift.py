import functools
import math

import numpy as np
import pytest

from tutelage.data.appearance import appearance
from tutelage.data.wardrobe import Garment, compose_scene
from tutelage.metrics.drift import (
    ADVICE,
    Alarm,
    Window,
    class_mix,
    class_test,
    drift,
    energy_test,
    holm,
    matched,
)
from tutelage.types import BadInput

ALARM = Alarm()


def rng():
    return np.random.default_rng(0)


def test_energy_by_hand():
    """0, 2 against 4, 6 in units of their spread, the root of 5: 2 * 4 - 1 - 1 over it."""
    one, other = np.array([[0.0], [2.0]]), np.array([[4.0], [6.0]])
    distance, p = energy_test(one, other, draws=500, rng=rng())
    assert distance == pytest.approx(6 / math.sqrt(5))
    assert p == pytest.approx(2 / 6, abs=0.06)  # two of the six ways to part four points are as far apart
    assert energy_test(one, one, draws=50, rng=rng()) == (0, 1)
    fewer, _ = energy_test(one, other[:1], draws=1, rng=rng())  # the spread is the root of 8/3: 2 * 3 - 1 over it
    assert fewer == pytest.approx(5 / math.sqrt(8 / 3))


def test_classes_by_hand():
    """3 and 1 against 1 and 3: chi square 2; of the 70 draws of four from eight, 34 are at least as uneven."""
    one, other = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    statistic, p = class_test(one, other, classes=3, draws=4000, rng=rng())
    assert statistic == pytest.approx(2)
    assert p == pytest.approx(34 / 70, abs=0.03)
    unequal, _ = class_test(one, other[:2], classes=2, draws=1, rng=rng())
    assert unequal == pytest.approx(1 / 24 + 1 / 12 + 1 / 12 + 1 / 6)


def test_the_mix_behind_a_model_that_errs():
    """It is right for 3 of 4 of each class; of new images, 30 of 40 of class 0, it says 0 for 30 * 3/4 + 10 * 1/4."""
    labels, predicted = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 1, 0])
    new = np.array([0] * 25 + [1] * 15)
    np.testing.assert_allclose(class_mix(labels, predicted, new, 2), [0.75, 0.25])
    np.testing.assert_allclose(class_mix(labels, predicted, np.ones(9, int), 2), [0, 1])


def test_the_mix_behind_a_model_whose_errors_are_of_one_class():
    """It says 0 of 4 in 6 of class 0 and never of class 1: where it says so of 40 %, 60 % are of class 0."""
    labels, predicted = np.array([0] * 6 + [1] * 2), np.array([0] * 4 + [1] * 4)
    np.testing.assert_allclose(class_mix(labels, predicted, np.array([0] * 4 + [1] * 6), 2), [0.6, 0.4])


def test_source_images_in_another_mix():
    labels = np.repeat([0, 1, 2], 20)
    kept = matched(labels, np.array([0.5, 0.25, 0.25]), rng())
    assert np.bincount(labels[kept]).tolist() == [20, 10, 10]
    assert len(set(kept)) == len(kept)
    assert len(matched(labels, np.array([0.0, 0.0, 1.0]), rng())) == 20


def test_holm_by_hand():
    """At 0.05 the least of three must lie below 0.0167, the next below 0.025, the last below 0.05."""
    tests = holm({"a": (1.0, 0.03), "b": (1.0, 0.01), "c": (1.0, 0.02)}, 0.05)
    assert [test.fires for test in tests] == [True, True, True]
    tests = holm({"a": (1.0, 0.03), "b": (1.0, 0.01), "c": (1.0, 0.028)}, 0.05)
    assert [test.fires for test in tests] == [False, True, False]


def world(n, mix=(0.5, 0.5), offset=0.0, seed=0):
    """Two classes at -2 and 2 of one feature, and one that tells of the weather; the model reads the first feature."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(2, n, p=mix)
    points = draw.normal(size=(n, 2)) * 0.7 + np.stack([4.0 * labels - 2, np.full(n, offset)], axis=1)
    right = 1 / (1 + np.exp(-3 * points[:, 0]))
    return Window({"points": points}, np.stack([1 - right, right], axis=1)), labels


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("none", {}),
        ("appearance", {"offset": 1.5}),
        ("class mix", {"mix": (0.85, 0.15)}),
        ("both", {"mix": (0.85, 0.15), "offset": 1.5}),
    ],
)
def test_says_what_has_moved(kind, changes):
    source, labels = world(400)
    for seed in range(1, 6):
        new, _ = world(400, seed=seed, **changes)
        found = drift(source, labels, new, alarm=ALARM)
        assert (found.kind, found.advice) == (kind, ADVICE[kind])
    if "mix" in changes:
        np.testing.assert_allclose(found.mix, changes["mix"], atol=0.05)


def test_predictions_that_moved_with_the_looks_alone_are_read_in_the_sources_style():
    """A veil pushes all images to one side of the model's border; without it they are of the same classes."""
    source, labels = world(400)
    clear, _ = world(400, seed=1)
    points = clear.features["points"] + np.array([2.0, 1.5])
    right = 1 / (1 + np.exp(-3 * points[:, 0]))
    veiled = Window({"points": points}, np.stack([1 - right, right], axis=1))
    assert drift(source, labels, veiled, alarm=ALARM).kind == "both"
    assert drift(source, labels, veiled, alarm=ALARM, restyled=clear.probabilities).kind == "appearance"


def test_a_model_that_only_becomes_less_sure_is_noticed():
    source, labels = world(400)
    new, _ = world(400, seed=1)
    doubtful = Window(new.features, 0.5 + (new.probabilities - 0.5) * 0.6)
    assert drift(source, labels, doubtful, alarm=ALARM).kind == "confidence"


def test_too_few_draws_are_refused():
    with pytest.raises(BadInput, match="Raise draws"):
        Alarm(draws=99)


@functools.cache
def scenes(domain, number):
    """Small scenes of squares, as features and what a fixed random model says of them."""
    outline = np.zeros((28, 28))
    outline[4:24, 4:24] = 1
    made = []
    for seed in range(number):
        draw = np.random.default_rng((seed, len(domain)))
        garments = [Garment(np.ones((28, 28)), outline, 0)] * int(draw.integers(1, 3))
        made.append(compose_scene(garments, 32, draw, scales=(0.3, 0.6), domain=domain).pixels)
    images = np.stack(made)
    features = appearance(images)
    weights = np.random.default_rng(9).normal(size=(features.shape[1], 4))
    day = features if domain == "" else appearance_of_day()
    logits = (features - day.mean(axis=0)) / day.std(axis=0) @ weights
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return features, shifted / shifted.sum(axis=1, keepdims=True)


def appearance_of_day():
    return scenes("", 600)[0]


def window(domain, rows, number):
    features, probabilities = scenes(domain, number)
    return Window({"pixels": features[rows]}, probabilities[rows])


def test_silent_on_two_samples_of_one_domain():
    draw, fired = np.random.default_rng(1), 0
    for seed in range(100):
        rows = draw.permutation(600)[:160]
        labels = np.arange(80) % 4
        found = drift(window("", rows[:80], 600), labels, window("", rows[80:], 600), alarm=Alarm(seed=seed))
        fired += found.kind != "none"
    assert fired <= 5


@pytest.mark.parametrize("domain", ["night", "fog"])
def test_fires_on_night_and_fog(domain):
    draw = np.random.default_rng(2)
    labels = np.arange(80) % 4
    for seed in range(20):
        day, other = draw.permutation(600)[:80], draw.permutation(200)[:80]
        found = drift(window("", day, 600), labels, window(domain, other, 200), alarm=Alarm(seed=seed))
        assert found.kind in ("appearance", "both")
