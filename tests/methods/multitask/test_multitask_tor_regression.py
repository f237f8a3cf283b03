import pytest
import torch
from multi_fixtures import saying_depth

from tutelage.methods.multitask.tor_regression import TORRegression

TEACHER, LABELS = [0.1, 0.9, 2.1, 2.9, 4.1], [0.0, 1.0, 2.0, 3.0, 50.0]


def test_the_teacher_answers_for_a_label_that_is_absurd():
    """The student says 4 everywhere: 4, 3, 2 and 1 from the labels, and 0.1 from the teacher in place of 46."""
    method = TORRegression()
    nets, batch = saying_depth(method, [4.0] * 5, TEACHER, LABELS)
    assert method.loss(nets, batch)["depth"].item() == pytest.approx((4 + 3 + 2 + 1 + 0.1) / 5, rel=1e-5)
    every = TORRegression(threshold=1e6)
    assert every.loss(nets, batch)["depth"].item() == pytest.approx((4 + 3 + 2 + 1 + 46) / 5, rel=1e-5)


def test_the_second_head_learns_what_the_teacher_says_of_every_image():
    method = TORRegression(weight=3.0)
    nets, batch = saying_depth(method, [1.0, 2.0], [5.0, 7.0], [0.0, 0.0])
    second = nets.extra({"p2": nets.student(batch.labeled.images).pyramid["p2"]}, 4)
    off = (second[:, 0] - torch.tensor([5.0, 7.0])[:, None, None]).abs().mean()
    torch.testing.assert_close(method.loss(nets, batch)["second_head"], 3 * off)


def test_what_the_teacher_says_of_blind_pixels_is_not_learned():
    method = TORRegression()
    nets, batch = saying_depth(method, [1.0, 2.0], [5.0, 7.0], [0.0, 0.0])
    truth, images = batch.labeled.truth, batch.labeled.images.clone()
    weight = truth.depth.weight.clone()
    weight[:, :2] = 0
    blind = batch._replace(
        labeled=batch.labeled._replace(images=images, truth=truth._replace(depth=truth.depth._replace(weight=weight)))
    )
    expected = method.loss(nets, blind)
    images[:, 1, :2] = 99.0
    found = method.loss(nets, blind)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
