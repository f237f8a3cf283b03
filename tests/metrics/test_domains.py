import numpy as np
import pytest

from tutelage.metrics.domains import domain_similarity, source_weights


def test_similarity_by_hand():
    """Half against a quarter and three quarters in two bins: 0.0487949 bits apart."""
    one, other = np.array([[0.0], [1.0]] * 2), np.array([[0.0], [1.0], [1.0], [1.0]])
    assert domain_similarity(one, other, bins=2) == pytest.approx(1 - 0.0487949, abs=1e-6)
    assert domain_similarity(one.repeat(3, axis=1), other.repeat(3, axis=1), bins=2) == pytest.approx(1 - 0.0487949)
    assert domain_similarity(one, one) == 1
    assert domain_similarity(np.zeros((3, 1)), np.ones((2, 1))) == pytest.approx(0)


def test_equal_sources_weigh_alike_and_the_targets_own_the_most():
    rng = np.random.default_rng(0)
    near, far, target = rng.normal(0, 1, (200, 3)), rng.normal(2, 1, (200, 3)), rng.normal(0, 1, (200, 3))
    assert source_weights([near, near], target) == pytest.approx((0.5, 0.5))
    assert source_weights([np.zeros((3, 1))] * 2, np.ones((2, 1))) == (0.5, 0.5)  # two that share nothing with it
    weights = source_weights([far, target, near], target)
    assert sum(weights) == pytest.approx(1)
    assert weights[1] > weights[2] > weights[0]
