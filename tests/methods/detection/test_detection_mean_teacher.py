import math

import pytest
import torch
from scene_fixtures import Scripted, detector_nets, scene_batch, scripted_nets

from tutelage.losses.soft_boxes import dense_consistency
from tutelage.methods.detection.mean_teacher import MeanTeacher


def test_the_teacher_sees_the_weak_view_where_the_strong_one_lies():
    method, batch = MeanTeacher(weight=3.0, ramp=0.0, unsupervised=0.5), scene_batch()
    nets = scripted_nets(method, Scripted(), Scripted())
    terms = method.loss(nets, batch)
    asked = nets.teacher.net.asked[0][0]
    torch.testing.assert_close(asked, batch.pool.weak.flip(-1), atol=1e-5, rtol=0)
    said, wanted = (x[:, 0, :2, :2].flatten(1)[..., None].expand(-1, -1, 3) for x in (batch.pool.strong, asked))
    torch.testing.assert_close(terms["consistency"], 1.5 * dense_consistency(said, wanted))


def test_the_weight_grows_over_the_ramp():
    method, batch = MeanTeacher(ramp=0.5), scene_batch()
    nets = scripted_nets(method, Scripted(), Scripted(), steps=40)

    def at(step):
        method.after_step(nets, step)
        return method.loss(nets, batch)["consistency"].item()

    full = at(20)
    assert math.isclose(at(40), full, rel_tol=1e-6)
    assert math.isclose(at(0) / full, math.exp(-5), rel_tol=1e-4)


def test_offline_boxes_are_one_more_term():
    method = MeanTeacher(pseudo=0.5, unsupervised=0.5)
    terms = method.loss(scripted_nets(method, Scripted(), Scripted()), scene_batch())
    assert terms["pool_classification"].item() == pytest.approx(0.25 * 201.6)
    assert terms["classification"].item() == 608  # labelled images in both views, as the baseline sees them


def test_after_one_step_the_teacher_is_half_way():
    method = MeanTeacher()
    nets = detector_nets(method)
    before = nets.teacher.net.head.bias.clone()
    with torch.no_grad():
        nets.student.head.bias.add_(1.0)
    method.after_step(nets, 1)
    torch.testing.assert_close(nets.teacher.net.head.bias, before + 0.5)
    method.after_step(nets, 100_000)
    torch.testing.assert_close(nets.teacher.net.head.bias, before + 0.5 + 0.5 * 0.001)
