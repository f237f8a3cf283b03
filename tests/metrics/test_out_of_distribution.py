"""How far images lie from labelled ones, and how far is too far."""

import numpy as np
import pytest

from tutelage.metrics.out_of_distribution import known, limit, shrunk_covariance, unit
from tutelage.types import BadInput


def test_far_is_far_and_near_is_near():
    draw = np.random.default_rng(0)
    centres = 4 * np.eye(3, 8)
    labels = draw.integers(0, 3, 90)
    told = known(centres[labels] + 0.3 * draw.normal(size=(90, 8)), labels)
    same = told.distance(centres[draw.integers(0, 3, 500)] + 0.3 * draw.normal(size=(500, 8)))
    other = told.distance(4 * np.eye(8)[np.full(500, 5)] + 0.3 * draw.normal(size=(500, 8)))
    assert same.dtype == np.float32
    assert same.max() < other.min()
    np.testing.assert_allclose(told.distance(told.means), told.distance(7 * told.means), rtol=1e-4)  # of any length


def test_distance_is_that_of_the_formula():
    draw = np.random.default_rng(1)
    rows, labels = draw.normal(size=(40, 6)), draw.integers(0, 4, 40)
    told, some = known(rows, labels), draw.normal(size=(7, 6))
    around = np.concatenate([unit(rows)[labels == c] - unit(rows)[labels == c].mean(axis=0) for c in range(4)])
    inverse = np.linalg.inv(shrunk_covariance(around))
    expected = [min((x - m) @ inverse @ (x - m) for m in told.means) for x in unit(some)]
    np.testing.assert_allclose(told.distance(some), expected, rtol=1e-5)


def test_covariance_by_hand():
    """Rows (1, 0), (-1, 0), (0, 1), (0, -1), twice each along the first axis: S = diag(2/3, 1/3), m = 1/2,
    |S - m I|^2 = 1/18; the mean of |x|^4 is 1, |S|^2 = 5/9, so the error is (1 - 5/9) / 6 = 2/27 > 1/18: all shrunk."""
    rows = np.array([[1.0, 0], [-1, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    np.testing.assert_allclose(shrunk_covariance(rows), 0.5 * np.eye(2))
    # A hundred times as many rows: the error is (4 / 9) / 600 = 1/1350, a share of 18 / 1350 = 1/75 of the spread.
    many = np.tile(rows, (100, 1))
    np.testing.assert_allclose(np.diag(shrunk_covariance(many)), [2 / 3 - 1 / 450, 1 / 3 + 1 / 450])


def test_covariance_of_few_rows_has_an_inverse():
    rows = np.random.default_rng(0).normal(size=(5, 20))
    assert np.linalg.eigvalsh(shrunk_covariance(rows)).min() > 0


def test_a_class_may_have_one_image():
    rows = np.random.default_rng(0).normal(size=(7, 4))
    assert np.isfinite(known(rows, np.array([0, 0, 0, 1, 1, 1, 2])).distance(rows)).all()


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.ones((4, 3)), np.eye(3)])
def test_labelled_images_that_do_not_differ_say_nothing(rows):
    labels = np.arange(len(rows)) if len(rows) == 3 else np.zeros(len(rows), int)
    with pytest.raises(BadInput, match=r"differ in nothing but their class.*in_distribution: null"):
        known(rows, labels)


@pytest.mark.parametrize(
    ("number", "keep", "place"), [(99, 0.99, 98), (100, 0.99, 99), (198, 0.99, 197), (199, 0.99, 197), (19, 0.95, 18)]
)
def test_limit_by_hand(number, keep, place):
    """The k-th largest of 0, 1, 2, ..., k = floor((n + 1) (1 - keep))."""
    assert limit(np.random.default_rng(0).permutation(number).astype(float), keep) == place


@pytest.mark.parametrize(("number", "keep", "needed"), [(98, 0.99, 99), (0, 0.95, 19), (18, 0.95, 19)])
def test_a_hold_out_too_small_to_promise_is_refused(number, keep, needed):
    with pytest.raises(BadInput, match=rf"is {keep}, which takes {needed} hold-out images .* are {number}\."):
        limit(np.arange(float(number)), keep)


def test_as_many_are_lost_as_promised():
    """Over many hold-outs of 40, keep 0.95: two of 41 lie beyond, whatever the distances are."""
    draw = np.random.default_rng(0)
    lost = [np.mean(draw.exponential(size=50) > limit(draw.exponential(size=40), 0.95)) for _ in range(4000)]
    assert np.mean(lost) == pytest.approx(2 / 41, abs=0.003)
