"""Which images people are asked about: two classes, turns and clusters by hand."""

import numpy as np

from tutelage.metrics.queries import cluster_margin, in_turns, top_two


def test_the_two_likeliest_classes_and_of_equals_the_first():
    classes, scores = top_two(np.array([[0.1, 0.6, 0.3], [0.4, 0.2, 0.4], [0.2, 0.2, 0.6]], np.float32))
    assert classes.tolist() == [[1, 2], [0, 2], [2, 0]]
    np.testing.assert_allclose(scores, [[0.6, 0.3], [0.4, 0.4], [0.6, 0.2]], rtol=1e-6)


def test_groups_take_turns():
    keys, groups = np.array([0.1, 0.2, 0.3, 0.05, 0.4]), np.array(["a", "a", "b", "a", "c"])
    assert in_turns(keys, groups).tolist() == [3, 2, 4, 0, 1]  # a's, b's and c's lowest, then the rest of a


def test_of_near_copies_the_smallest_margin_is_asked_about():
    embeddings = np.array([[0, 0], [0.1, 0], [0, 0.1], [5, 5], [5.1, 5], [9, 0]], np.float32)
    margins = np.array([0.03, 0.01, 0.02, 0.20, 0.15, 0.30])
    assert cluster_margin(embeddings, margins, 3).tolist() == [1, 4, 5]
    assert cluster_margin(embeddings, margins, 6).tolist() == [1, 2, 0, 4, 3, 5]  # all there are, in order


def test_where_there_are_fewer_clusters_than_images_the_small_ones_give_first():
    embeddings = np.array([[0, 0]] * 4 + [[5, 5]] * 2, np.float32)  # equal ones cannot be told apart
    margins = np.array([0.01, 0.02, 0.03, 0.04, 0.20, 0.30])
    assert cluster_margin(embeddings, margins, 3).tolist() == [0, 4, 5]
    assert cluster_margin(embeddings, margins, 5).tolist() == [0, 1, 2, 4, 5]
