import numpy as np
import pytest

from tutelage.metrics.depth import Errors, errors, mean_errors
from tutelage.types import BadInput


def test_errors_by_hand():
    """Off by 1 of 2 and 0 of 4; the third pixel was not measured. 3 / 2 is more than 1.25."""
    found = errors(np.array([[2.0, 4.0, 0.0]]), np.array([[3.0, 4.0, 9.0]]))
    assert found == pytest.approx(Errors(0.25, np.sqrt(0.5), 0.5))


def test_a_factor_counts_both_ways():
    assert errors(np.array([[1.0, 1.0, 1.0, 1.0]]), np.array([[1.24, 0.81, 1.26, 0.79]])).delta == 0.5


def test_alignment_takes_scale_and_shift_away():
    truth = np.random.default_rng(0).uniform(1, 5, (4, 6))
    assert errors(truth, 0.2 * truth - 3, align=True) == pytest.approx(Errors(0, 0, 1), abs=1e-6)
    assert errors(truth, 0.2 * truth - 3).delta < 0.1


def test_alignment_by_hand():
    """The line through (0, 1), (1, 2), (2, 6) is 5 / 2 x + 1 / 2: off by 1 / 2 of 1, 1 of 2 and 1 / 2 of 6."""
    truth = np.array([[1.0, 2.0, 6.0]])
    assert errors(truth, np.array([[0.0, 1.0, 2.0]]), align=True) == pytest.approx(Errors(13 / 36, np.sqrt(0.5), 1 / 3))
    assert errors(truth, np.full((1, 3), 7.0), align=True) == errors(truth, np.full((1, 3), 3.0))  # the mean


def test_an_answer_of_nothing_is_wrong_and_finite():
    found = errors(np.ones((1, 2)), np.array([[0.0, -1.0]]))
    assert found == pytest.approx(Errors(1.5, np.sqrt(2.5), 0))


def test_means_are_over_the_images_that_were_measured():
    assert errors(np.zeros((2, 2)), np.ones((2, 2))) is None
    assert mean_errors([Errors(0.1, 2.0, 1.0), None, Errors(0.3, 4.0, 0.0)]) == pytest.approx(Errors(0.2, 3.0, 0.5))
    with pytest.raises(BadInput, match="none of 2 images"):
        mean_errors([None, None])
