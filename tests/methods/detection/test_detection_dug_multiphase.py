import pytest
import torch
from scene_fixtures import Scripted, scene_batch, scripted_nets

from tutelage.methods.detection.dug_multiphase import DUGMultiPhase


def learned(method):
    student, batch = Scripted(), scene_batch()
    method.loss(scripted_nets(method, student, Scripted()), batch)
    return student.asked[0], batch


def test_background_of_the_pool_counts_a_quarter_and_its_boxes_all():
    (images, boxes, weight, parts), batch = learned(DUGMultiPhase())
    assert parts == [6, 4]
    assert torch.equal(images, torch.cat([batch.labeled.weak, batch.labeled.strong, batch.pool.strong]))
    assert weight.tolist() == pytest.approx([1] * 6 + [0.25, 0, 0.25, 0])
    for box, offline in zip(boxes[6:], batch.pool.strong_boxes, strict=True):
        torch.testing.assert_close(0.25 * box.weight, 0.999989 * offline.weight, atol=1e-6, rtol=0)
        torch.testing.assert_close(0.25 * box.place_weight, 0.999989 * offline.place_weight, atol=1e-6, rtol=0)
    assert torch.equal(boxes[0].weight, torch.ones(2))  # labelled images keep theirs


def test_without_it_all_regions_count_alike():
    (_, boxes, weight, _), batch = learned(DUGMultiPhase(reweigh=False))
    assert weight.tolist() == [1] * 6 + [1, 0, 1, 0]
    assert torch.equal(boxes[6].weight, batch.pool.strong_boxes[0].weight)


def test_the_pool_weighs_what_is_said():
    method = DUGMultiPhase(weight=3.0, unsupervised=0.5, reweigh=False)
    terms = method.loss(scripted_nets(method, Scripted(), Scripted()), scene_batch())
    assert terms["pool_classification"].item() == pytest.approx(1.5 * 201.6)
    assert terms["classification"].item() == 608
