import numpy as np
import pytest

from tutelage.metrics.segmentation import boundary_f, count, overlaps


def test_iou_by_hand():
    """Class 0: 2 of 2 + 3 - 2. Class 1: 1 of 2 + 1 - 1. Class 2 is nowhere. The -1 is not judged."""
    truth, said = np.array([[0, 0, 1], [1, -1, -1]]), np.array([[0, 0, 0], [1, 1, 2]])
    found = overlaps(count(truth, said, 3))
    np.testing.assert_allclose(found.iou, [2 / 3, 1 / 2, np.nan])
    assert found.pixels.tolist() == [2, 2, 0]
    assert found.mean == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_counts_add_up():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(-1, 4, (6, 5, 7)), rng.integers(0, 4, (6, 5, 7))
    parts = sum(count(*pair, 4) for pair in zip(truth, said, strict=True))
    assert (parts == count(truth.reshape(1, -1), said.reshape(1, -1), 4)).all()
    assert overlaps(count(truth.clip(0)[0], truth.clip(0)[0], 4)).mean == 1


def test_nothing_judged_has_no_mean():
    assert np.isnan(overlaps(count(np.full((2, 2), -1), np.zeros((2, 2), int), 3)).mean)


def square(place, size=20):
    image = np.zeros((size, size), int)
    image[6:14, place : place + 8] = 1
    return image


def test_an_outline_may_be_as_far_off_as_is_tolerated():
    def score(shift, tolerance):
        return boundary_f([(square(5), square(5 + shift))], 2, tolerance=tolerance)[1]

    assert score(0, 0.0) == 1
    assert score(2, 2.0) == 1
    assert score(3, 2.0) < 1
    assert score(1, 0.0) < score(1, 1.0) == 1


def test_outline_by_hand():
    """A line of 4 pixels, of which the answer has 2, and 2 more, too far away: precision and recall are 1/2."""
    truth, said = np.zeros((12, 12), int), np.zeros((12, 12), int)
    truth[2, 2:6], said[2, 2:4], said[9, 8:10] = 1, 1, 1
    assert boundary_f([(truth, said)], 3, tolerance=0.0)[1] == pytest.approx(0.5)


def test_a_class_missed_or_made_up_scores_zero_and_one_that_is_nowhere_has_no_score():
    empty = np.zeros((20, 20), int)
    for pair in ((square(5), empty), (empty, square(5))):
        found = boundary_f([pair], 3)
        assert found[1] == 0
        assert np.isnan(found[2])
    assert boundary_f([(square(5), square(5)), (square(5), empty)], 2)[1] == 0.5


def test_a_picture_that_is_wrong_all_over_scores_zero_though_nothing_has_an_outline():
    floor, wall = np.zeros((8, 8), int), np.ones((8, 8), int)
    assert boundary_f([(floor, wall)], 2).tolist() == [0, 0]
    floor[3:5], floor[5:] = -1, 1  # two parts that touch nowhere
    assert boundary_f([(floor, 1 - floor.clip(0))], 2).tolist() == [0, 0]


def test_the_edge_of_the_picture_and_ignored_pixels_are_no_outline():
    whole = np.ones((8, 8), int)
    assert boundary_f([(whole, whole)], 2)[1] == 1
    truth = square(5)
    truth[:, 13:] = -1
    here, there = square(5), square(5)
    there[:, 13:] = 0
    assert boundary_f([(truth, there)], 2, tolerance=0.0)[1] == boundary_f([(truth, here)], 2, tolerance=0.0)[1]


def test_what_borders_a_letterbox_or_a_crowd_is_no_outline():
    """A picture of 8 x 5 pixels with two pixels of a crowd, in a square: the answer has no edge there."""
    truth = np.zeros((8, 8), int)
    truth[:, 4:] = 1
    said = truth.copy()
    truth[5:], truth[1:3, 6] = -1, -1
    assert boundary_f([(truth, said)], 2, tolerance=0.0).tolist() == [1, 1]
    said[:, 4] = 0  # one pixel off
    assert boundary_f([(truth, said)], 2, tolerance=0.0).tolist() == [0, 0]
    assert boundary_f([(truth, said)], 2, tolerance=1.0).tolist() == [1, 1]


def test_an_answer_that_changes_where_nobody_judges_has_no_outline_there():
    truth, said = np.zeros((6, 6), int), np.zeros((6, 6), int)
    truth[:3, 3:], truth[3:] = 1, -1
    said[:3, 3:], said[2, :3] = 1, 1
    precision, recall = 2 / 5, 2 / 3  # two pixels upright in both, three of the answer lie flat, one of the truth
    found = boundary_f([(truth, said)], 2, tolerance=0.0)[1]
    assert found == pytest.approx(2 * precision * recall / (precision + recall))
