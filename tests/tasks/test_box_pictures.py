import numpy as np
import pytest

from tasks.box_charts import errors_chart, precision_recall_chart
from tasks.box_pictures import COLOURS, REJECTED, BoxPool, Mark, drawn, strips
from tasks.gallery import sheet
from tasks.pictures import svg
from tutelage.data.boxes import Found, Given
from tutelage.data.pseudo_boxes import Verdict, to_table
from tutelage.metrics.detection_errors import ERRORS

SIDE = 80


def rgb(verdict):
    return tuple(int(COLOURS[verdict][i : i + 2], 16) for i in (1, 3, 5))


def box(*places):
    return np.array(places, np.float32).reshape(-1, 4)


def found(places, scores, labels=None):
    labels = [0] * len(scores) if labels is None else labels
    return Found(box(*places), np.array(labels, np.int64), np.array(scores, np.float32))


def given(*places):
    k = len(places)
    return Given(box(*places), np.zeros(k, np.int64), np.zeros(k, bool), np.ones(k, np.float32))


def table(images, limit=0.5):
    """Found boxes of each image, kept from a score of `limit`."""
    said = [
        Verdict(one, one.scores, one.scores >= limit, [""] * len(one.scores), one.scores, one.scores) for one in images
    ]
    return to_table([str(i) for i in range(len(images))], said, teacher="t", number=1)


def pool(number, truth=None):
    sizes = np.array([[160, 120]] * number)
    return BoxPool(lambda row: np.full((SIDE, SIDE, 3), row, np.uint8), SIDE, sizes, ["cat", "dog"], truth or {})


A, B = [20, 40, 60, 80], [100, 40, 140, 80]


def shown(strip):
    return [int(shot.image[-1, -1, 0]) for shot in strip.shots]  # the corner says which image it is


def by_title(pool, labels, opinions=None, number=4):
    return {strip.title: strip for strip in strips(pool, labels, opinions or {}, number)}


def test_a_box_is_drawn_where_it_is_in_the_colour_of_its_verdict():
    image = drawn(np.zeros((SIDE, SIDE, 3), np.uint8), [Mark(np.array([10.0, 30, 30, 60]), "kept", "")])
    coloured = np.argwhere((image == rgb("kept")).all(-1))
    assert coloured.min(0).tolist() == [30, 10]
    assert coloured.max(0).tolist() == [59, 29]
    assert not image[35:55, 15:25].any()  # only its edge


def test_text_stays_on_the_picture_and_above_boxes():
    edge = [Mark(np.array([70.0, 2, 79, 20]), "rejected", "dog 0.12"), Mark(np.array([0.0, 0, 80, 80]), "kept", "")]
    image = drawn(np.zeros((SIDE, SIDE, 3), np.uint8), edge)
    rows, columns = np.nonzero((image == rgb("rejected")).all(-1))
    assert rows.min() >= 0
    assert np.ptp(columns) > 30  # the whole text, moved to the left
    assert (image > 200).all(-1).any()


def test_boxes_outside_and_of_no_size_can_be_drawn():
    marks = [Mark(np.array([-5.0, -5, 200, 200]), "given", "a"), Mark(np.array([9.0, 9, 9, 9]), "student", "b")]
    assert drawn(np.zeros((SIDE, SIDE, 3), np.uint8), marks).shape == (SIDE, SIDE, 3)


def test_each_image_stands_where_it_belongs():
    images = [
        found([A], [0.95]),  # 0: surest
        found([A, B], [0.55, 0.48]),  # 1: at the threshold, which is seen at 0.55
        found([A], [0.2]),  # 2: rejected
        found([], []),  # 3: nothing
        found([A, B], [0.9, 0.3]),  # 4
    ]
    rows = by_title(pool(5), table(images))
    assert {title: shown(strip) for title, strip in rows.items()} == {
        "Surest": [0, 4, 1], "At the threshold": [1], "Rejected": [2], "Nothing found": [3],
    }  # fmt: skip
    assert [shot.label for shot in rows["Surest"].shots] == ["1 cat"] * 3
    assert rows["Surest"].shots[1].notes == ["1 rejected"]
    assert rows["Rejected"].shots[0].label == "none kept"
    assert {shot.right for shot in rows["Surest"].shots} == {None}  # nobody knows
    assert shown(by_title(pool(5), table(images), number=2)["Surest"]) == [0, 4]


def test_mistakes_are_seen_where_the_truth_is_known():
    images = [found([A], [0.9]), found([A, B], [0.9, 0.8]), found([B], [0.7])]
    rows = by_title(pool(3, {0: given(A), 1: given([0, 0, 9, 9])}), table(images))
    assert shown(rows["Kept by mistake"]) == [1]
    assert [shot.right for shot in rows["Surest"].shots] == [True, False, None]
    picture = rows["Kept by mistake"].shots[0].image
    assert tuple(picture[0, 0]) == rgb("given")  # the truth is drawn too


def test_what_nobody_looked_for_is_no_frame_around_the_picture():
    truth = Given(box([0, 0, 160, 120], [100, 20, 140, 60]), np.array([1, 0]), np.array([True, False]), np.ones(2))
    picture = by_title(pool(1, {0: truth}), table([found([A], [0.9])]))["Kept by mistake"].shots[0].image
    assert tuple(picture[0, 0]) != rgb("given")
    assert tuple(picture[10, 50]) == rgb("given")


def test_what_people_marked_is_drawn_as_theirs_and_is_not_the_surest_of_a_teachers_boxes():
    said = [Verdict(one, one.scores, one.scores >= 0.5, [""] * 2, one.scores, one.scores, searched=[1]) for one in (
        found([A, B], [0.6, 1.0], [0, 1]), found([A, B], [0.3, 1.0], [0, 1]), found([A, B], [0.7, 0.2])
    )]  # fmt: skip
    rows = by_title(pool(3), to_table(["a", "b", "c"], said, teacher="t", number=1))
    assert shown(rows["Surest"]) == [2, 0]
    assert shown(rows["Rejected"]) == [1]
    assert rows["Surest"].shots[1].label == "1 cat"
    assert tuple(rows["Surest"].shots[1].image[20, 60]) == rgb("given")


def test_a_student_that_disagrees_is_drawn_beside_its_teacher():
    images = [found([A], [0.9]), found([A], [0.9]), found([A], [0.9])]
    opinions = {0: found([A], [0.8]), 1: found([B], [0.8]), 2: found([], [])}
    rows = by_title(pool(3), table(images), opinions)
    assert shown(rows["Student disagrees"]) == [1, 2]  # two boxes apart, then one
    picture = rows["Student disagrees"].shots[0].image
    assert (picture == rgb("student")).all(-1).any()


def test_places_are_scaled_from_the_original_to_the_picture():
    picture = by_title(pool(1), table([found([A], [0.9])]))["Surest"].shots[0].image
    coloured = np.flatnonzero((picture[39] == rgb("kept")).all(-1))  # the lowest row: 80, halved
    assert (coloured.min(), coloured.max()) == (10, 29)
    assert not (picture[40] == rgb("kept")).all(-1).any()


def test_few_of_many_rejected_boxes_are_drawn():
    many = found([[i, 60, i + 1, 69] for i in range(0, 150, 5)], np.linspace(0.4, 0.1, 30))
    shot = by_title(pool(1), table([many]))["Rejected"].shots[0]
    assert shot.notes == ["30 rejected"]
    columns = np.flatnonzero((shot.image[33] == rgb("rejected")).all(-1))
    assert columns.tolist() == [0, 2, 5, 7, 10, 12]  # the surest are the first
    assert REJECTED == 6


def test_an_empty_pool_has_no_strips_and_a_strip_is_markdown():
    assert strips(pool(0), table([]), {}, 4) == []
    text = sheet(by_title(pool(1), table([found([A], [0.9])]))["Surest"], columns=4, zoom=1)
    assert "data:image/jpeg;base64," in text
    assert text.endswith("1 cat 0.90")


@pytest.mark.parametrize("number", [0, 1, 3, 9])
def test_curves_of_few_classes_are_named_and_of_many_averaged(number):
    curves = {f"class {i}": np.linspace(1, 0, 101) for i in range(number)}
    text = svg(precision_recall_chart(curves), "curves")
    assert text.count("class ") == (number if number <= 6 else 0)
    assert ("mean of 9 (0.50)" in text) == (number == 9)


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend():
    assert "_misc (0.50)" in svg(precision_recall_chart({"_misc": np.linspace(1, 0, 101)}), "curves")


def test_errors_of_models_stand_side_by_side():
    counts = {"baseline": dict.fromkeys(ERRORS, 7), "student": dict.fromkeys(ERRORS, 3)}
    costs = {"baseline": dict.fromkeys(ERRORS, 0.02), "student": dict.fromkeys(ERRORS)}
    text = svg(errors_chart(ERRORS, counts, costs), "errors")
    for word in (*ERRORS, "baseline", "student"):
        assert word in text
    assert text == svg(errors_chart(ERRORS, counts, costs), "errors")
