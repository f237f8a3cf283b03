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
    assert errors(np.array([[4.0, 5.0]]), np.array([[5.0, 4.0]])).delta == 0  # 1.25 itself is too far


def test_half_precision_does_not_overflow():
    far = np.full((1, 1), 300, np.float16)  # whose square is no float16
    assert errors(far, 2 * far) == (1.0, 300.0, 0.0)


def test_an_answer_of_nothing_is_wrong_and_finite():
    found = errors(np.ones((1, 2)), np.array([[0.0, -1.0]]))
    assert found == pytest.approx(Errors(1.5, np.sqrt(2.5), 0))


def test_means_are_over_the_images_that_were_measured():
    assert errors(np.zeros((2, 2)), np.ones((2, 2))) is None
    assert mean_errors([Errors(0.1, 2.0, 1.0), None, Errors(0.3, 4.0, 0.0)]) == pytest.approx(Errors(0.2, 3.0, 0.5))
    with pytest.raises(BadInput, match="none of 2 images"):
        mean_errors([None, None])
