"""Overlap of boxes against values computed by hand."""

import numpy as np
from scenes_found import nothing_found, nothing_given

from tutelage.data.boxes import Found, Given, looked_for, objects_an_image, overlap, unmarked, unsearched


def test_a_crowd_over_the_whole_image_says_that_nobody_looked():
    places = [[0, 0, 40, 30], [0, 0, 40, 30], [1, 1, 39, 29], [0, 0, 38.9, 30], [0, 1.1, 40, 30]]
    crowd = np.array([False, True, True, True, True])
    given = Given(np.array(places, np.float32), np.arange(5), crowd, np.ones(5, np.float32))
    assert unsearched(given, 40, 30).tolist() == [False, True, True, False, False]
    assert unsearched(nothing_given(), 40, 30).tolist() == []


def test_objects_are_counted_in_the_images_where_they_were_looked_for():
    """Three images of 40 x 30 pixels: two cats and a dog; a dog, and nobody looked for cats; nothing but a crowd."""
    places = np.array([[1, 1, 9, 9], [2, 2, 9, 9], [3, 3, 9, 9]], np.float32)
    one, no = np.ones(3, np.float32), np.zeros(3, bool)
    images = [
        Given(places, np.array([0, 0, 1]), no, one),
        Given(np.array([[0, 0, 40, 30], [1, 1, 9, 9]], np.float32), np.array([0, 1]), np.array([True, False]), one[:2]),
        Given(places[:1], np.array([0]), np.array([True]), one[:1]),
    ]
    known = np.array([looked_for(each, 40, 30, 3) for each in images])
    assert known.tolist() == [[True] * 3, [False, True, True], [True] * 3]
    np.testing.assert_allclose(objects_an_image(images, known), [2 / 2, 2 / 3, 0])
    assert objects_an_image([], np.zeros((0, 3), bool)).tolist() == [0, 0, 0]


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


def test_what_is_found_beside_what_people_marked():
    given = Given(
        np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32), np.array([0, 0]), np.array([False, True]), np.ones(2)
    )
    places = [[50, 50, 60, 60], [0, 0, 10, 5], [0, 0, 10, 4], [20, 20, 40, 40], [50, 50, 60, 60]]
    found = Found(np.array(places, np.float32), np.array([1, 1, 1, 2, 0]), np.arange(5, dtype=np.float32))
    left = unmarked(found, given, np.array([True, False, False]))
    assert left.scores.tolist() == [0, 2, 3]  # half on an object is on it; in a group there may be anything
    assert left.places.shape == (3, 4)
    nothing = Given(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0))
    assert unmarked(found, nothing, np.array([True, False, False])).scores.tolist() == [0, 1, 2, 3]
