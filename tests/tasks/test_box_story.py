"""What a report counts of pseudo-boxes whose truth is known."""

import pyarrow as pa
from scenes_found import given

from tasks.box_story import count_boxes

CAT, AWAY, IN_CROWD = [0, 0, 20, 20], [40, 0, 60, 20], [100, 100, 140, 140]
TRUTH = given([CAT, [90, 90, 400, 300]], [0, 0], [False, True])


def store(*boxes):
    same = {"labels": 0, "calibrated": 0.9, "kept": True}
    return pa.table({"boxes": [list(boxes)]} | {name: [[value] * len(boxes)] for name, value in same.items()})


def test_a_box_on_a_crowd_is_neither_right_nor_wrong():
    [cat] = count_boxes(store(CAT, AWAY, IN_CROWD), [{"name": "cat"}], {0: TRUTH})
    assert (cat.kept, cat.checked, cat.right) == (3, 2, 1)
    [cat] = count_boxes(store(CAT, IN_CROWD), [{"name": "cat"}], {0: TRUTH})
    assert cat.precision == 1


def test_boxes_whose_truth_is_not_known_are_not_checked():
    [cat] = count_boxes(store(CAT), [{"name": "cat"}], {})
    assert (cat.kept, cat.checked, cat.precision) == (1, 0, None)
