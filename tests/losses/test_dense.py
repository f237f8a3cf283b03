import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.dense import (
    counted_mean,
    multilabel_cross_entropy,
    pixel_cross_entropy,
    trusted_mean,
)
from tutelage.types import IGNORE


def one_pixel(*probabilities):
    return torch.tensor(probabilities).log().view(1, -1, 1, 1)


def test_a_pixel_by_hand():
    loss = pixel_cross_entropy(one_pixel(0.5, 0.3, 0.2), torch.tensor([[[1]]]))
    assert loss.item() == pytest.approx(-math.log(0.3))


def test_is_torchs_cross_entropy_where_all_is_known():
    logits, target = torch.randn(2, 4, 3, 5), torch.randint(0, 4, (2, 3, 5))
    target[0, 1] = IGNORE
    theirs = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    torch.testing.assert_close(pixel_cross_entropy(logits, target), theirs)
    torch.testing.assert_close(pixel_cross_entropy(logits, target, torch.ones(2, 4, dtype=torch.bool)), theirs)


def test_background_may_be_what_nobody_looked_for():
    """Class 2 was not annotated: background costs -log(0.5 + 0.2), and class 1 what it always does."""
    known = torch.tensor([[True, True, False]])
    logits = one_pixel(0.5, 0.3, 0.2)
    assert pixel_cross_entropy(logits, torch.tensor([[[0]]]), known).item() == pytest.approx(-math.log(0.7))
    assert pixel_cross_entropy(logits, torch.tensor([[[1]]]), known).item() == pytest.approx(-math.log(0.3))
    assert known.tolist() == [[True, True, False]]


def test_a_class_nobody_annotated_is_never_pushed_down_by_background():
    logits = torch.zeros(1, 3, 1, 1, requires_grad=True)
    pixel_cross_entropy(logits, torch.tensor([[[0]]]), torch.tensor([[True, True, False]])).sum().backward()
    background, looked_for, not_looked_for = logits.grad.flatten()
    assert background < 0
    assert not_looked_for < 0  # it may be that one: up, as background
    assert looked_for > 0


def test_ignored_pixels_give_zero_and_no_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 2, 2), IGNORE))
    assert not loss.any()
    loss.sum().backward()
    assert not logits.grad.any()


def test_mean_by_hand_counts_only_what_is_trusted():
    loss, weight = torch.tensor([4.0, 2.0, math.inf]), torch.tensor([1.0, 0.5, 0.0])
    assert trusted_mean(loss, weight).item() == (4 + 1) / 2
    assert trusted_mean(loss, weight / 2).item() == (4 + 1) / 4  # half the trust, half the loss
    assert trusted_mean(loss[:1], weight[:1]).item() == 4
    nothing = trusted_mean(loss.requires_grad_(), torch.zeros(3))
    nothing.backward()
    assert nothing == 0
    assert not loss.grad.any()


def test_what_is_counted_takes_part_in_the_mean_whatever_it_weighs():
    loss, weight = torch.tensor([4.0, 2.0, math.inf]), torch.tensor([0.5, 0.0, 1.0])
    assert counted_mean(loss, weight, torch.tensor([True, True, False])).item() == 2 / 2
    assert counted_mean(loss, weight, torch.tensor([True, False, False])).item() == 2
    nothing = counted_mean(loss.requires_grad_(), weight, torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0


def test_presence_by_hand():
    """sigmoid(0) = 1/2 costs ln 2 whatever the target; the second class was not looked for."""
    logits = torch.tensor([[0.0, 9.0], [math.log(3), 0.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = multilabel_cross_entropy(logits, target, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert loss.item() == pytest.approx((2 * math.log(2) - math.log(0.25)) / 3)
    loss.backward()
    assert logits.grad[0, 1] == 0
