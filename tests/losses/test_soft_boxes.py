import math

import pytest
import torch

from tutelage.losses.soft_boxes import (
    as_boxes,
    at_least_one,
    confident,
    dense_consistency,
    imitation,
    inside_boxes,
    matched,
    soft_positions,
    soft_regions,
)
from tutelage.types import Boxes, Detections


def found(*scores, labels=None, places=None):
    k = len(scores)
    places = [[0, 0, 4, 4]] * k if places is None else places
    labels = [0] * k if labels is None else labels
    return Detections(
        torch.tensor(places, dtype=torch.float32).reshape(k, 4), torch.tensor(labels).long(), torch.tensor(scores)
    )


def test_a_threshold_for_all_or_one_for_each_class():
    answers = found(0.9, 0.7, 0.4, labels=[0, 1, 1])
    assert confident(answers, 0.7).scores.tolist() == pytest.approx([0.9, 0.7])
    assert confident(answers, torch.tensor(0.7)).labels.tolist() == [0, 1]
    assert confident(answers, torch.tensor([0.95, 0.3])).scores.tolist() == pytest.approx([0.7, 0.4])


@pytest.mark.parametrize(("scores", "kept"), [([0.95, 0.4], [0.95]), ([0.6, 0.4], [0.6]), ([0.95, 0.92], [0.95, 0.92])])
def test_an_image_keeps_its_surest_box(scores, kept):
    assert at_least_one(found(*scores), 0.9).scores.tolist() == pytest.approx(kept)


def test_an_image_without_detections_keeps_none():
    assert len(at_least_one(found(), 0.9).scores) == 0


def test_classes_are_believed_and_places_as_far_as_they_are():
    boxes = as_boxes(found(0.8, 0.9), torch.tensor([1.0, 0.0]))
    assert boxes.places.tolist() == [[0, 0, 4, 4]] * 2
    assert boxes.labels.tolist() == [0, 0]
    assert boxes.weight.tolist() == [1, 1]
    assert boxes.place_weight.tolist() == [1, 0]


def test_a_box_is_matched_to_the_one_of_its_class_that_overlaps_it_most():
    boxes = found(0.9, 0.8, 0.7, places=[[0, 0, 4, 4], [10, 10, 14, 14], [0, 0, 4, 4]], labels=[0, 0, 1])
    others = found(
        0.3, 0.4, 0.5, 0.6, labels=[0, 0, 0, 2],
        places=[[0, 0, 4, 3], [0, 0, 4, 3.5], [10, 10, 12, 14], [0, 0, 4, 4]],
    )  # fmt: skip
    places, scores = matched(boxes, others)
    assert places.tolist() == [[0, 0, 4, 3.5], [10, 10, 14, 14], [0, 0, 4, 4]]  # half is not over half
    assert scores.tolist() == pytest.approx([0.4, 0, 0])


def test_where_nothing_is_found_nothing_is_matched():
    boxes = found(0.9)
    assert matched(boxes, found())[1].tolist() == [0]
    assert matched(found(), boxes)[0].shape == (0, 4)


def test_consistency_by_hand():
    """Probabilities 0.5 and 0.8 against 0.5 and 0.5, one object in the teacher's eyes at 1: 0.09 by what it sees."""
    logit = math.log(0.8 / 0.2)
    student = torch.tensor([[[0.0, logit], [-50.0, -50.0]]])
    teacher = torch.tensor([[[0.0, 0.0], [-50.0, -50.0]]])
    torch.testing.assert_close(dense_consistency(student, teacher), torch.tensor(0.09))  # 0.5 seen counts as 1
    many = teacher.expand(4, -1, -1)
    torch.testing.assert_close(dense_consistency(student.expand(4, -1, -1), many), torch.tensor(4 * 0.09 / 2))


def test_soft_positions_by_hand():
    """Two positions whose teacher sees 0.8 and 0.2 of one class, the student 0.5 of it twice."""
    logit = math.log(4)
    teacher, student = torch.tensor([[[logit], [-logit]]]), torch.zeros(1, 2, 1)
    apart = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    trust = torch.ones(1)
    torch.testing.assert_close(soft_positions(student, teacher, trust), torch.tensor(apart))  # weights 0.8 and 0.2
    assert soft_positions(teacher, teacher, trust) == 0
    both = soft_positions(torch.cat([student, student]), torch.cat([teacher, 3 * teacher]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(both, torch.tensor(apart))  # an image that is not trusted does not count
    seen = torch.full((2, 1, 1), logit)
    half = soft_positions(seen * torch.tensor([0.0, 1.0]).view(2, 1, 1), seen, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(half, torch.tensor(0.8 * apart / (0.8 + 0.4)))  # the second image agrees


def test_what_the_teacher_sees_is_its_surest_class_and_counts_above_one():
    """Two classes and two positions: the teacher sees 0.8 and 0.5 at both, the student 0.5 and 0.5."""
    teacher = torch.tensor([[[math.log(4), 0.0]] * 2])
    student = torch.zeros(1, 2, 2)
    torch.testing.assert_close(dense_consistency(student, teacher), torch.tensor(2 * 0.09 / 1.6))
    apart = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)  # of the first class; the second is agreed on
    both = soft_positions(student, teacher, torch.ones(1))
    torch.testing.assert_close(both, torch.tensor(apart))  # both weigh 0.8, and the weights' sum is 1.6
    more = torch.tensor([[[math.log(4), 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(soft_positions(student, more, torch.ones(1)), torch.tensor(0.8 * apart / 1.3))
    twice = torch.full((1, 1, 2), math.log(4))
    torch.testing.assert_close(soft_positions(student[:, :1], twice, torch.ones(1)), torch.tensor(0.8 * 2 * apart))


def test_a_position_weighs_what_the_teacher_sees_there():
    teacher = torch.tensor([[[3.0], [-9.0]]])
    seen = soft_positions(torch.tensor([[[0.0], [-9.0]]]), teacher, torch.ones(1))
    unseen = soft_positions(torch.tensor([[[3.0], [0.0]]]), teacher, torch.ones(1))
    assert seen > 100 * unseen > 0


def test_soft_regions_by_hand():
    """Background at 0.8 against 0.5 counts one and a half times; an image of no trust is left out."""
    logit = math.log(4)
    teacher, student = torch.tensor([[logit, 0.0], [9.0, 0.0]]), torch.zeros(2, 2)
    apart = 1.5 * 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    loss = soft_regions(student, teacher, torch.tensor([1.0, 0.0]), background=1.5)
    torch.testing.assert_close(loss, torch.tensor(apart))
    assert soft_regions(student[:0], teacher[:0], torch.ones(0), background=1.5) == 0


def test_soft_regions_take_the_mean_over_trusted_ones_and_classes_apart():
    """Regions of 0.8 and 0.5 against 0.5 and 0.8 in two classes; the mean of both."""
    logit = math.log(4)
    teacher, student = torch.tensor([[logit, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, logit]])
    first = 2.0 * 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    second = 2.0 * 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    loss = soft_regions(student, teacher, torch.ones(2), background=2.0)
    torch.testing.assert_close(loss, torch.tensor((first + second) / 2))
    three = [torch.cat([each, each[:1]]) for each in (student, teacher)]
    torch.testing.assert_close(
        soft_regions(*three, torch.ones(3), background=2.0), torch.tensor((2 * first + second) / 3)
    )
    loss = soft_regions(student, teacher, torch.tensor([0.5, 0.0]), background=2.0)
    torch.testing.assert_close(loss, torch.tensor(0.5 * first))  # trust below one region counts as one


def boxes(*places, weight=1.0):
    k = len(places)
    return Boxes(
        torch.tensor(places).float().reshape(k, 4), torch.zeros(k).long(), torch.full((k,), weight), torch.ones(k)
    )


def test_cells_whose_centre_lies_in_a_box():
    masks = inside_boxes(
        [boxes((0, 2, 4, 4), (6, 6, 8, 8)), boxes(), boxes((0, 0, 8, 8), weight=0.0)],
        size=8,
        cells=4,
        like=torch.ones(1),
    )
    assert masks[0].tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert masks[1:].sum() == 0
    edges = inside_boxes([boxes((1, 3, 5, 7))], size=8, cells=4, like=torch.ones(1))  # centres on an edge are not in it
    assert edges[0].nonzero().tolist() == [[2, 1]]


def test_imitation_never_waits_for_the_device():
    """On the meta device there is no number to read, so none of how many boxes are believed."""
    with torch.device("meta"):
        maps, place = {"p2": torch.zeros(1, 2, 4, 4)}, torch.zeros(2, 4)
        boxes = [Boxes(place, torch.zeros(2).long(), torch.ones(2), torch.ones(2))]
        assert imitation(maps, maps, boxes, torch.ones(1), size=8).shape == ()


def test_imitation_by_hand():
    """Maps of 2 and 4 cells a side of images of 8 pixels; a box over one quarter is 1 cell and 4 cells."""
    given = [boxes((0, 0, 4, 4)), boxes((0, 0, 4, 4))]
    teacher = {"coarse": torch.zeros(2, 3, 2, 2), "fine": torch.zeros(2, 3, 4, 4)}
    student = {"coarse": torch.zeros(2, 3, 2, 2), "fine": torch.zeros(2, 3, 4, 4)}
    student["coarse"][0, :, 0, 0] = 2.0  # 3 channels of 4: 12, over twice one cell
    student["coarse"][0, :, 1, 1] = 9.0  # outside
    student["fine"][0, 0, 0, 1] = 4.0  # 16, over twice four cells
    student["fine"][1] = 5.0  # of no trust
    loss = imitation(student, teacher, given, torch.tensor([1.0, 0.0]), size=8)
    torch.testing.assert_close(loss, torch.tensor((12 / 2 + 16 / 8) / 2))
    teacher["coarse"][0, :, 0, 0] = 3.0  # 3 channels of 1
    loss = imitation(student, teacher, given, torch.tensor([1.0, 0.0]), size=8)
    torch.testing.assert_close(loss, torch.tensor((3 / 2 + 16 / 8) / 2))
    loss = imitation(student, teacher, given, torch.tensor([0.5, 0.0]), size=8)
    torch.testing.assert_close(loss, torch.tensor((0.5 * 3 / 1 + 16 / 8) / 2))  # twice half a cell is one
    assert imitation(student, teacher, [boxes(), boxes()], torch.ones(2), size=8) == 0  # no cell, and no NaN
