"""What a report counts of pseudo-boxes whose truth is known."""

from dataclasses import replace

import pyarrow as pa
from scenes_found import given

from tasks.box_story import BoxRecord, Change, changes_of, count_boxes
from tutelage.data.pseudo_boxes import SCHEMA

CAT, AWAY, IN_CROWD = [0, 0, 20, 20], [40, 0, 60, 20], [100, 100, 140, 140]
TRUTH = given([CAT, [90, 90, 400, 300]], [0, 0], [False, True])


def store(*boxes, label=0, searched=()):
    same = {"labels": label, "calibrated": 0.9, "kept": True}
    places = pa.array([list(boxes)], SCHEMA.field("boxes").type)
    looked = pa.array([list(searched)], SCHEMA.field("searched").type)
    return pa.table(
        {"boxes": places, "searched": looked} | {name: [[value] * len(boxes)] for name, value in same.items()}
    )


def record(*boxes, label=0):
    made = store(*boxes, label=label)
    classes = count_boxes(made, [{"name": "cat"}, {"name": "dog"}], {})
    return BoxRecord(1, None, guard={}, calibration={}, store=made, classes=classes, detected=None, opinions={})


def test_a_box_on_a_crowd_is_neither_right_nor_wrong():
    [cat] = count_boxes(store(CAT, AWAY, IN_CROWD), [{"name": "cat"}], {0: TRUTH})
    assert (cat.kept, cat.checked, cat.right) == (3, 2, 1)
    [cat] = count_boxes(store(CAT, IN_CROWD), [{"name": "cat"}], {0: TRUTH})
    assert cat.precision == 1


def test_boxes_whose_truth_is_not_known_are_not_checked():
    [cat] = count_boxes(store(CAT), [{"name": "cat"}], {})
    assert (cat.kept, cat.checked, cat.precision) == (1, 0, None)


def test_what_people_marked_is_not_counted_as_found():
    [cat, dog] = count_boxes(store(CAT, AWAY, searched=[0]), [{"name": "cat"}, {"name": "dog"}], {})
    assert (cat.kept, dog.kept) == (0, 0)
    assert replace(record(), store=store(CAT, AWAY, searched=[0])).people == 2
    assert replace(record(), store=store(CAT, AWAY, searched=[1])).people == 0


def test_what_came_and_went_of_a_class_is_counted():
    near = [1, 0, 21, 20]  # overlaps CAT by nine tenths
    assert changes_of(record(CAT, AWAY), record(near, IN_CROWD, AWAY)) == [Change(1, 0), Change(0, 0)]
    assert changes_of(record(CAT, AWAY), record(CAT)) == [Change(0, 1), Change(0, 0)]
    assert changes_of(record(CAT), record(CAT, label=1)) == [Change(0, 1), Change(1, 0)]
    assert changes_of(record(), record()) == [Change(0, 0), Change(0, 0)]
