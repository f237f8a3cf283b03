"""Whose boxes are kept: values counted by hand."""

import numpy as np
import pytest

from tasks.box_calibrate import _expected, _limits
from tasks.box_merge import merged
from tasks.box_params import CalibrateBoxes
from tutelage.data.boxes import Found
from tutelage.data.pseudo_boxes import PseudoBoxes, easiest

A, NEAR, C = (0, 0, 10, 10), (0, 0, 10, 8), (20, 20, 30, 30)  # A and NEAR overlap by 0.8


def found(*places, scores, labels=None):
    labels = [0] * len(scores) if labels is None else labels
    return Found(np.array(places, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32))


def rules(*limits):
    """Scores are chances as they are."""
    return {"scale": 1.0, "shift": 0.0, "classes": [{"threshold": limit} for limit in limits]}


def kept(verdict):
    return [tuple(place) for place, some in zip(verdict.found.places.tolist(), verdict.kept, strict=True) if some]


TWO = [found(A, C, scores=(0.6, 0.9)), found(NEAR, scores=(0.8,))]


def test_a_teacher_alone_keeps_what_reaches_its_threshold():
    said = merged([found(A, C, scores=(0.6, 0.4))], [rules(0.5)], "teacher")
    assert kept(said) == [A]
    assert said.reason == ["", "below_threshold"]
    assert merged([found(A, scores=(0.6,))], [rules(None)], "teacher").reason == ["class_rejected"]


def test_by_stacs_rule_an_image_without_a_sure_box_keeps_its_surest():
    stac = rules(0.9, 0.9) | {"rule": "stac"}
    assert kept(merged([found(A, C, scores=(0.6, 0.4), labels=[1, 0])], [stac], "teacher")) == [A]
    assert kept(merged([found(A, C, scores=(0.95, 0.92))], [stac], "teacher")) == [A, C]
    assert kept(merged([found(scores=())], [stac], "teacher")) == []


def test_by_stacs_rule_the_yield_counts_what_every_image_keeps():
    unseen = [found(A, C, scores=(0.6, 0.4), labels=[1, 0]), found(A, C, scores=(0.95, 0.92), labels=[1, 0])]
    assert [_expected(unseen, place, 0.9, "stac") for place in (0, 1)] == [0.5, 1.0]
    assert _expected(unseen, 1, 0.9, "count") == 0.5


def test_two_components_that_part_below_the_floor_keep_no_box_below_it():
    scores = np.random.default_rng(0).normal([0.02] * 40 + [0.09] * 20, 0.005)
    unseen = [found(*[A] * 60, scores=scores)]
    for floor, limit in ((0.3, 0.3), (0.0, pytest.approx(0.05, abs=0.02))):
        [cat] = _limits(CalibrateBoxes(rule="mixture", floor=floor), [], [], unseen, ["cat"])
        assert cat == {"threshold": limit, "evidence": "two components"}


def test_two_that_agree_keep_the_surer_box_and_say_why_the_others_go():
    said = merged([TWO[1], TWO[0]], [rules(0.5), rules(0.5)], "agreed")
    assert kept(said) == [NEAR]  # 0.8 against 0.6
    assert said.calibrated[said.kept].tolist() == pytest.approx([0.8])
    # The teacher's own A was agreed on and lost to the surer one; its C is not found by the first teacher.
    assert [tuple(place) for place in said.found.places[~said.kept].tolist()] == [C]
    assert said.reason == ["", "not_agreed"]
    assert said.weight == 1.0


def test_what_one_of_two_does_not_keep_is_not_agreed_on():
    said = merged([TWO[1], TWO[0]], [rules(0.9), rules(0.5)], "agreed")
    assert kept(said) == []
    assert said.weight == 0.0


def test_two_fused_weigh_a_place_and_its_chance():
    """A box that one of them finds keeps its chance, which the threshold is of; another's may hold it down."""
    said = merged([TWO[0], TWO[1]], [rules(0.5), rules(0.75)], "fused")
    # Scores 0.9 * 0.6 = 0.54 and 1.0 * 0.8: the lower edge lies at (0.54 * 10 + 0.8 * 8) / 1.34, the mean 1.34 / 1.9.
    assert said.found.places[0].tolist() == list(C)
    assert said.found.places[1].tolist() == pytest.approx([0, 0, 10, (5.4 + 6.4) / 1.34], rel=1e-5)
    assert said.calibrated.tolist() == pytest.approx([0.9, 1.34 / 1.9])
    assert said.kept.tolist() == [True, False]


def test_the_easiest_images_are_those_of_the_highest_mean_score():
    boxes = PseudoBoxes(
        np.zeros((4, 4), np.float32), np.zeros(4, np.int64), *np.ones((2, 4), np.float32),
        np.array([0, 2, 3, 4, 4]), np.array([1, 1, 1, 0], np.float32),
    )  # fmt: skip
    scores = [np.array(each, np.float32) for each in ([0.9, 0.1], [0.6], [0.7], [])]  # means 0.5, 0.6, 0.7 and none
    assert easiest(boxes, scores, 0.5).image_weight.tolist() == [0, 1, 1, 0]
    assert easiest(boxes, scores, 1.0).image_weight.tolist() == [1, 1, 1, 0]
    assert easiest(boxes, scores, 0.25).image_weight.tolist() == [0, 0, 1, 0]
