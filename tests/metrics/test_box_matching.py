import numpy as np
import pytest
from scenes_found import CLASSES, found, given, guesses, nothing_found, nothing_given, random_scenes

from tutelage.metrics.box_matching import match
from tutelage.metrics.pycoco import evaluated

BOX = [0, 0, 10, 10]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_the_rule_is_pycocotools(seed, iou):
    scenes = random_scenes(seed)
    answers = guesses(scenes, seed + 50, spurious=8)
    run = evaluated(
        scenes, answers, CLASSES, areas=[[0.0, 1e10]], limits=[100], overlaps=np.array([iou])
    )  # fmt: skip
    theirs = {}
    for one in run.evalImgs:
        if one is not None:
            hit, ignored = one["dtMatches"][0] > 0, one["dtIgnore"][0].astype(bool)
            theirs |= dict(zip(one["dtIds"], zip(hit & ~ignored, ignored, strict=True), strict=True))
    ours = [match(*pair, iou=iou) for pair in zip(scenes, answers, strict=True)]
    ours = [pair for one in ours for pair in zip(one.right, one.ignored, strict=True)]
    assert ours == [theirs[number] for number in range(1, len(ours) + 1)]
    assert {(True, False), (False, True), (False, False)} == {(bool(a), bool(b)) for a, b in ours}


def test_by_hand():
    scene = given([BOX, [20, 0, 30, 10], [40, 0, 80, 40]], [0, 1, 0], [False, False, True])
    said = found(
        [BOX, BOX, [20, 0, 30, 10], [42, 2, 46, 6], [50, 10, 60, 20], [90, 90, 99, 99]],
        [0, 0, 0, 0, 0, 0],
        [0.6, 0.9, 0.8, 0.7, 0.5, 0.4],
    )
    one = match(scene, said)
    np.testing.assert_array_equal(one.right, [False, True, False, False, False, False])  # the surer of two, its class
    np.testing.assert_array_equal(one.ignored, [False, False, False, True, True, False])  # a crowd takes many
    np.testing.assert_array_equal(one.object, [-1, 0, -1, 2, 2, -1])


def test_of_two_objects_equally_near_the_last_is_found():
    """As pycocotools, though the other would leave an object to the second box."""
    scene = given([BOX, [4, 0, 14, 10]], [0, 0])
    one = match(scene, found([[2, 0, 12, 10], [4, 0, 14, 10]], [0, 0], [0.9, 0.8]))
    np.testing.assert_array_equal(one.object, [1, -1])


def test_an_object_comes_before_the_crowd_around_it():
    scene = given([[0, 0, 100, 100], BOX], [0, 0], [True, False])
    one = match(scene, found([BOX, BOX], [0, 0], [0.9, 0.8]))
    np.testing.assert_array_equal(one.object, [1, 0])


def test_empty_sides():
    assert match(nothing_given(), found([BOX], [0], [1])).right.tolist() == [False]
    assert match(given([BOX], [0]), nothing_found()).right.shape == (0,)
    assert match(nothing_given(), nothing_found()).object.shape == (0,)
