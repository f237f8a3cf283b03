import math

import numpy as np
import pytest

from tutelage.metrics.outliers import isolation, path_length, ranks, sampled_distance


def draw():
    return np.random.default_rng(0)


def cloud(number=60):
    """Points about the origin, and a last one far away."""
    points = draw().normal(size=(number, 3))
    points[-1] = 12.0
    return points


def test_distances_to_a_sample_of_all_are_those_to_the_nearest_neighbour():
    points = np.array([[0.0], [1.0], [3.0], [10.0]])
    assert sampled_distance(points, sample=9, draw=draw()).tolist() == [1.0, 1.0, 2.0, 7.0]


def test_distances_are_to_samples_that_are_the_same_for_all():
    points, random = cloud(), draw()
    chosen = draw().permutation(60)[:5]
    found = sampled_distance(points, sample=5, draw=random)
    for place in (0, 17, int(chosen[0])):
        others = [other for other in chosen if other != place]
        assert found[place] == pytest.approx(np.linalg.norm(points[place] - points[others], axis=1).min())


def test_path_length_by_hand():
    """c(3) = 2 (ln 2 + 0.57722) - 4 / 3."""
    assert [path_length(n) for n in (0, 1, 2)] == [0.0, 0.0, 1.0]
    assert path_length(3) == pytest.approx(2 * (math.log(2) + 0.5772156649) - 4 / 3)
    assert path_length(256) == pytest.approx(10.24477, abs=1e-5)


def test_two_samples_are_isolated_by_one_cut_each():
    """Depth 1 of c(2) = 1: 1/2. So are points that no cut parts, whatever their number."""
    assert isolation(np.array([[0.0], [5.0]]), trees=3, draw=draw()) == pytest.approx([0.5, 0.5])
    assert isolation(np.ones((7, 2)), trees=3, draw=draw()) == pytest.approx([0.5] * 7)


def test_what_is_far_from_all_is_soon_isolated():
    scores = isolation(cloud(), trees=25, draw=draw())
    assert scores.argmax() == 59
    assert scores[59] > 0.7
    assert np.median(scores) < 0.5
    assert (scores == isolation(cloud(), trees=25, draw=draw())).all()
    few = isolation(cloud(), trees=25, size=8, draw=draw())
    assert few.argmax() == 59


def test_ranks_by_hand():
    assert ranks(np.array([5.0, 1.0, 3.0])).tolist() == [1.0, 0.0, 0.5]
    assert ranks(np.array([2.0, 2.0, 7.0])).tolist() == [0.25, 0.25, 1.0]
    assert ranks(np.array([4.0])).tolist() == [0.0]
