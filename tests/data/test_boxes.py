"""Overlap of boxes against values computed by hand."""

import numpy as np
from scenes_found import nothing_found, nothing_given

from tutelage.data.boxes import overlap


def test_overlap_of_pairs_by_hand():
    one = np.array([[0, 0, 2, 2], [0, 0, 4, 1]], np.float32)
    two = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6]], np.float32)
    expected = [[2 / 6, 1, 0], [2 / 6, 2 / 6, 0]]
    np.testing.assert_allclose(overlap(one, two), expected, rtol=1e-6)


def test_no_box_overlaps_nothing():
    empty = nothing_found().places
    assert overlap(empty, np.ones((3, 4), np.float32)).shape == (0, 3)
    assert overlap(nothing_given().places, empty).shape == (0, 0)
    point = np.array([[1, 1, 1, 1]], np.float32)
    assert overlap(point, point) == 0
