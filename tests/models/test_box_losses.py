import math

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from tutelage.models.box_losses import centerness, focal, focal_cross_entropy, giou_loss, smooth_l1, weighted_mean


def test_weighted_mean_by_hand():
    loss, weight = torch.tensor([1.0, 4.0, 7.0]), torch.tensor([2.0, 1.0, 0.0])
    assert weighted_mean(loss, weight) == 2  # (2 * 1 + 1 * 4) / 3
    assert weighted_mean(loss, weight, torch.tensor([1.0, 1.0, 4.0])) == 1  # 6 / 6
    assert weighted_mean(loss, 5 * weight) == 2
    assert weighted_mean(loss, weight / 12) == 0.5  # the divisor is at least 1: 6 / 12 over 1
    assert weighted_mean(loss[:0], weight[:0]) == 0


def test_a_mean_of_nothing_has_a_gradient():
    loss = torch.ones(3, requires_grad=True)
    weighted_mean(loss, torch.zeros(3)).backward()
    assert (loss.grad == 0).all()


def test_what_would_also_be_right_counts_together_with_the_right_class():
    logits = torch.tensor([[0.5, 0.2, 0.3]]).log().repeat(3, 1).requires_grad_()
    also = torch.tensor([[False, False, True], [False, True, True], [False, False, False]])
    loss = focal_cross_entropy(logits, torch.zeros(3, dtype=torch.int64), also, gamma=0.0)
    torch.testing.assert_close(loss, -torch.tensor([0.8, 1.0, 0.5]).log())
    assert loss[2] == focal_cross_entropy(logits, torch.zeros(3, dtype=torch.int64), gamma=0.0)[2]
    loss.sum().backward()
    # d/dz of -log(p0 + p2): softmax less the share of each among those that are right
    torch.testing.assert_close(logits.grad[0], torch.tensor([0.5 - 0.5 / 0.8, 0.2, 0.3 - 0.3 / 0.8]))
    harder = focal_cross_entropy(logits, torch.zeros(3, dtype=torch.int64), also, gamma=2.0)
    torch.testing.assert_close(harder[0], torch.tensor(0.2**2 * -math.log(0.8)))


def test_focal_by_hand():
    # p = 0.8 and 0.1: 0.25 * 0.2^2 * -log 0.8, and of the absent class 0.75 * 0.1^2 * -log 0.9
    logits = torch.tensor([[math.log(4), math.log(1 / 9)]])
    expected = 0.25 * 0.04 * -math.log(0.8) + 0.75 * 0.01 * -math.log(0.9)
    torch.testing.assert_close(focal(logits, torch.tensor([[1.0, 0.0]])), torch.tensor([expected]))


def test_focal_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3), 0.0]])  # p = 3/4
    one = focal_cross_entropy(logits, torch.tensor([0]), gamma=1.5)
    torch.testing.assert_close(one, torch.tensor([0.25**1.5 * -math.log(0.75)]))
    plain = focal_cross_entropy(logits, torch.tensor([1]), gamma=0.0)
    torch.testing.assert_close(plain, torch.tensor([math.log(4)]))


def test_focal_cross_entropy_of_certainty_has_a_gradient():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal_cross_entropy(logits, torch.tensor([0]), gamma=1.5).sum().backward()
    assert logits.grad.isfinite().all()


def test_giou_by_hand():
    one = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [3, 4, 5, 9]])
    two = torch.tensor([[1.0, 1, 3, 3], [2, 0, 3, 1], [3, 4, 5, 9]])
    # 1 of 7 shared, hull 9: 1 - 1/7 + 2/9. Apart: union 2 in a hull of 3: 1 + 1/3. The same: 0
    torch.testing.assert_close(giou_loss(one, two), torch.tensor([1 - 1 / 7 + 2 / 9, 4 / 3, 0]), atol=1e-6, rtol=0)


def test_giou_is_torchvisions():
    one, two = (torch.rand(2, 50, 4).cumsum(-1)[..., [0, 1, 2, 3]] for _ in range(2))
    torch.testing.assert_close(giou_loss(one, two), generalized_box_iou_loss(one, two))


def test_giou_of_a_point_has_a_gradient():
    point = torch.full((1, 4), 3.0, requires_grad=True)
    giou_loss(point, torch.tensor([[0.0, 0, 8, 8]])).sum().backward()
    assert point.grad.isfinite().all()


def test_centerness_by_hand():
    offsets = torch.tensor([[2.0, 3, 2, 3], [1, 2, 4, 2], [1, 1, 4, 9], [0, 1, 4, 1]])
    torch.testing.assert_close(centerness(offsets), torch.tensor([1, 0.5, 1 / 6, 0]))


@pytest.mark.parametrize(("beta", "expected"), [(1 / 9, 0.045 + 2 - 1 / 18), (0.0, 2.1), (1.0, 0.005 + 1.5)])
def test_smooth_l1_by_hand(beta, expected):
    deltas, target = torch.tensor([[0.1, 2.0, 0, 0]]), torch.zeros(1, 4)  # 0.1^2 * 9 / 2 = 0.045
    torch.testing.assert_close(smooth_l1(deltas, target, beta=beta), torch.tensor([expected]))
