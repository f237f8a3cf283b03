import math

import numpy as np
import pytest

from tutelage.train.pate import PATE, noisy_labels, shares, spent, votes
from tutelage.types import BadInput


def rng():
    return np.random.default_rng(0)


def test_no_private_image_has_two_teachers():
    rows = np.arange(100, 123)
    dealt = shares(rows, 5, rng())
    assert sorted(np.concatenate(dealt)) == list(rows)
    assert sorted(len(part) for part in dealt) == [4, 4, 5, 5, 5]
    assert any(np.diff(part).max() > 1 for part in dealt)
    with pytest.raises(BadInput, match="23 labelled images cannot be shared by 24 teachers"):
        shares(rows, 24, rng())


def test_votes_are_counted_and_without_noise_the_most_win():
    counts = votes(np.array([[0, 2], [0, 1], [1, 2]]), 3)
    np.testing.assert_array_equal(counts, [[2, 1, 0], [0, 1, 2]])
    np.testing.assert_array_equal(noisy_labels(counts, scale=0.0, rng=rng()), [0, 2])


def test_noise_flips_a_clear_vote_as_seldom_as_laplace_says():
    """Two Laplace noises differ by t or more one way with the chance (2 + t / b) / 4 e^(-t / b)."""
    counts = np.tile([200, 50, 0], (200_000, 1))
    flipped = (noisy_labels(counts, scale=20.0, rng=rng()) != 0).mean()
    chance = (2 + 7.5) / 4 * math.exp(-7.5) + (2 + 10) / 4 * math.exp(-10)
    assert flipped == pytest.approx(chance, rel=0.15)
    assert flipped < 0.01
    even = noisy_labels(np.tile([5, 5], (20_000, 1)), scale=20.0, rng=rng())
    assert even.mean() == pytest.approx(0.5, abs=0.02)


def test_budget_by_hand():
    """100 queries at gamma 0.05: 0.5 (l + 1) + ln(1e5) / l is least at l = 5."""
    close = np.tile([120, 119, 11], (100, 1))
    told = spent(close, scale=20.0, delta=1e-5)
    assert told.basic == pytest.approx(10.0)
    assert told.moments == pytest.approx(3 + math.log(1e5) / 5)
    assert told.votes == pytest.approx(told.moments)  # of a close vote theorem 3 says nothing
    clear = spent(np.tile([250, 0, 0], (100, 1)), scale=20.0, delta=1e-5)
    assert clear.moments == told.moments
    assert clear.votes < 0.5 * told.moments
    one = spent(np.array([[250, 0]]), scale=20.0, delta=1e-5)
    chance = (2 + 12.5) / 4 * math.exp(-12.5)
    last = (1 - chance) * ((1 - chance) / (1 - math.exp(0.1) * chance)) ** 32 + chance * math.exp(3.2)
    assert one.votes == pytest.approx((math.log(last) + math.log(1e5)) / 32)
    assert spent(close, scale=0.0, delta=1e-5).basic == math.inf


@pytest.mark.parametrize("scale", [0.001, 0.01, 0.05, 0.1, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("row", [[250, 0, 0], [50, 0, 0], [120, 119, 11], [5, 5, 5]])
def test_the_price_is_a_number_however_little_noise_there_is(scale, row):
    told = spent(np.tile(row, (10, 1)), scale=scale, delta=1e-5)
    assert all(map(math.isfinite, told))
    assert told.votes <= told.moments


def test_little_noise_by_hand():
    """50 votes ahead at gamma 20 another class wins with the chance 250.5 e^-1000, below any float: order 24, where it
    counts e^960 times, is the last at which it counts for nothing."""
    told = spent(np.array([[50, 0]]), scale=0.05, delta=1e-5)
    assert told.votes == pytest.approx(math.log(1e5) / 24)


@pytest.mark.parametrize(("field", "wrong"), [("scale", -1.0), ("queries", 0), ("delta", 1.0), ("delta", 0.0)])
def test_numbers_out_of_range_are_refused(field, wrong):
    with pytest.raises(BadInput, match=f"{field} of PATE is {wrong}"):
        PATE(**{field: wrong})
