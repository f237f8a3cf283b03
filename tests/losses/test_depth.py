import math

import pytest
import torch

from tutelage.losses.depth import (
    affine_invariant,
    log_difference,
    silog,
    without_worst,
)


def rows(*values):
    return torch.tensor(values).view(1, 1, -1)


ALL = torch.ones(1, 1, 3)


def test_what_has_no_weight_costs_nothing():
    said, target = torch.rand(2, 1, 4), torch.rand(2, 1, 4)
    weight = torch.tensor([[[1.0, 1.0, 1.0, 0.0]], [[0.0] * 4]])  # a pixel, and a whole image
    found = affine_invariant(said, target, weight)
    assert found[0, 0, :3].any()
    assert not found[weight == 0].any()


def test_affine_invariant_by_hand():
    """0, 1, 2 about the median 1, spread 2/3: -1.5, 0, 1.5. 1, 2, 6 about 2, spread 5/3: -0.6, 0, 2.4."""
    loss = affine_invariant(rows(0.0, 1.0, 2.0), rows(1.0, 2.0, 6.0), ALL)
    torch.testing.assert_close(loss, rows(0.9, 0.0, 0.9))


def test_scale_and_shift_of_the_answer_do_not_matter():
    said, target, weight = torch.rand(2, 4, 5), torch.rand(2, 4, 5), (torch.rand(2, 4, 5) > 0.3).float()
    moved = affine_invariant(3.5 * said - 7, target, weight)
    torch.testing.assert_close(moved * weight, affine_invariant(said, target, weight) * weight, atol=1e-5, rtol=1e-4)
    assert (affine_invariant(0.1 * target + 2, target, weight) * weight).max() < 1e-5


def test_upside_down_is_wrong():
    target = torch.rand(1, 4, 5)
    weight = torch.ones_like(target)
    assert affine_invariant(-target, target, weight).mean() > 1


def test_a_blind_sensor_changes_nothing():
    said, target, weight = torch.rand(1, 3, 4, requires_grad=True), torch.rand(1, 3, 4), torch.ones(1, 3, 4)
    weight[0, 1] = 0
    other = target.clone()
    other[0, 1] = torch.nan
    here, there = (torch.where(weight > 0, affine_invariant(said, each, weight), 0) for each in (target, other))
    assert torch.equal(here, there)
    there.sum().backward()
    assert said.grad.isfinite().all()
    assert not said.grad[0, 1].any()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_flat_answers_and_images_nobody_measured_are_finite(weight):
    said = torch.full((1, 2, 3), 2.0, requires_grad=True)
    value = affine_invariant(said, torch.rand(1, 2, 3), torch.full((1, 2, 3), weight))
    value.sum().backward()
    assert value.isfinite().all()
    assert said.grad.isfinite().all()


def test_images_are_aligned_each_on_its_own():
    said, target = torch.rand(2, 3, 3), torch.rand(2, 3, 3)
    weight = torch.ones(2, 3, 3)
    together = affine_invariant(said, target, weight)
    torch.testing.assert_close(together[1:], affine_invariant(said[1:], target[1:], weight[1:]))


def test_log_difference_by_hand():
    said = log_difference(rows(math.log(2.0), 0.0, 1.0), rows(1.0, 0.0, math.nan))
    torch.testing.assert_close(said, rows(math.log(2.0), 0.0, 0.0))
    torch.testing.assert_close(log_difference(rows(math.log(6.0)), rows(2.0)), rows(math.log(3.0)))


def test_silog_by_hand():
    """g = 1, 3: mean of squares 5, square of mean 4."""
    said, depth, weight = rows(1.0, 3.0, 9.0), rows(1.0, 1.0, 1.0), rows(1.0, 1.0, 0.0)
    assert silog(said, depth, weight, share=0.5).item() == pytest.approx(5 - 0.5 * 4)
    assert silog(said + 2, depth, weight, share=1.0).item() == pytest.approx(1.0)  # the scale does not matter
    assert silog(said, depth, 0 * weight).item() == 0
    assert silog(said, depth, weight / 4).item() == pytest.approx(3.0)  # as with weights of 1
    thrice = silog(said, depth, rows(1.0, 3.0, 0.0))  # mean of squares 28 / 4, of g 10 / 4
    assert thrice.item() == pytest.approx(7 - 0.5 * 2.5**2)
    two = (torch.cat([x, y]) for x, y in ((said, 0 * said), (depth, depth), (weight, weight)))
    assert silog(*two).item() == pytest.approx(1.5)  # the mean of 3 and 0
    both = (torch.cat([x, y]) for x, y in ((said, 9 * said), (depth, 0 * depth), (weight, weight)))
    assert silog(*both, share=0.5).item() == pytest.approx(3.0)  # an image that nobody measured is not in the mean


def test_the_worst_share_by_hand():
    """Half of three weighted pixels, rounded down, is one: the loss of 5. The 9 have no weight to lose."""
    loss, seen = rows(1.0, 5.0, 3.0, 9.0, 9.0, 9.0), rows(0.5, 1.0, 1.0, 0.0, 0.0, 0.0)
    assert without_worst(loss, seen, share=0.5).flatten().tolist() == [0.5, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert without_worst(rows(1.0, 5.0), rows(1.0, 1.0), share=0.0).flatten().tolist() == [1.0, 1.0]


def test_the_worst_share_is_exact_where_all_are_equal():
    assert without_worst(torch.ones(3, 4, 5), torch.ones(3, 4, 5), share=0.1).sum((1, 2)).tolist() == [18, 18, 18]
