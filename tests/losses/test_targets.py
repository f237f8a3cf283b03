import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.targets import (
    aligned,
    certain,
    masked_mean,
    mean_or_zero,
    sharpened,
    soft_cross_entropy,
    truncated_gaussian,
    trusted_cross_entropy,
    two_view_cross_entropy,
    weighted_mean,
)


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])  # probabilities 3/4, 1/4
    target = torch.tensor([[0.5, 0.5]])
    by_hand = -0.5 * math.log(0.75) - 0.5 * math.log(0.25)
    torch.testing.assert_close(soft_cross_entropy(logits, target), torch.tensor([by_hand]))


def test_soft_cross_entropy_of_a_certain_target_is_cross_entropy():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 2, 2])
    expected = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, F.one_hot(labels, 4).float()), expected)


def test_trust_scales_each_image_and_rejected_ones_still_count_in_the_mean():
    logits = torch.zeros(4, 2)  # each costs ln 2, whatever its target
    target = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0], [0.0, 0.0]])
    loss = trusted_cross_entropy(logits, target, torch.tensor([1.0, 0.5, 0.0, 0.0]))
    torch.testing.assert_close(loss, torch.tensor(1.5 * math.log(2) / 4))


def test_two_views_share_one_term():
    weak, strong, labels = torch.zeros(2, 2), torch.tensor([[math.log(3.0), 0.0]]).expand(2, 2), torch.tensor([0, 0])
    by_hand = 0.25 * -math.log(0.75) + 0.75 * math.log(2)
    loss = two_view_cross_entropy(weak, strong, labels, share=0.25)
    torch.testing.assert_close(loss, torch.tensor(by_hand))


def test_mean_of_nothing_is_a_zero_that_keeps_the_graph():
    weight = torch.ones(3, requires_grad=True)
    loss = mean_or_zero((torch.zeros(0, 3) * weight).sum(-1))
    loss.backward()
    assert loss == 0
    assert torch.equal(weight.grad, torch.zeros(3))


def test_mean_or_zero_is_the_mean():
    x = torch.randn(7)
    torch.testing.assert_close(mean_or_zero(x), x.mean())
    torch.testing.assert_close(mean_or_zero(x[:1]), x[0])


def test_masked_mean_counts_what_was_rejected():
    x, keep = torch.tensor([2.0, 4.0, 6.0, 100.0]), torch.tensor([True, True, True, False])
    assert masked_mean(x, keep) == 3.0  # 12 / 4, not 12 / 3
    assert masked_mean(x[:0], keep[:0]) == 0.0


def test_weighted_mean_is_relative_and_zero_without_weight():
    x = torch.tensor([1.0, 4.0], requires_grad=True)
    assert weighted_mean(x, torch.tensor([1.0, 3.0])) == 3.25
    assert weighted_mean(x, torch.tensor([10.0, 30.0])) == 3.25
    assert weighted_mean(x, torch.tensor([0.125, 0.375])) == 3.25
    nothing = weighted_mean(x, torch.zeros(2))
    (100 * nothing).backward()
    assert nothing == 0
    assert torch.equal(x.grad, torch.zeros(2))


def test_alignment_by_hand():
    p = torch.tensor([[0.6, 0.4]])  # times .5/.8 and .5/.2 is .375 and 1; over 1.375
    expected = torch.tensor([[0.375 / 1.375, 1 / 1.375]])
    torch.testing.assert_close(
        aligned(p, torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2])), expected, atol=1e-5, rtol=0
    )


def test_alignment_does_nothing_where_frequencies_agree_and_survives_a_class_never_seen():
    p = torch.randn(5, 3).softmax(-1)
    seen = torch.tensor([0.2, 0.3, 0.5])
    torch.testing.assert_close(aligned(p, seen, seen), p)
    unseen = aligned(p, seen, torch.tensor([0.5, 0.5, 0.0]))
    assert unseen.isfinite().all()
    torch.testing.assert_close(unseen.sum(-1), torch.ones(5))


def test_shapes_are_checked_under_test():
    with pytest.raises(Exception, match="soft_cross_entropy"):
        soft_cross_entropy(torch.zeros(7, 5), torch.zeros(6, 5))


def test_sharpening_by_hand():
    target = torch.tensor([[0.6, 0.3, 0.1], [0.0, 0.0, 0.0]])
    squared = torch.tensor([[0.36, 0.09, 0.01]]) / 0.46
    torch.testing.assert_close(sharpened(target, 0.5), torch.cat([squared, torch.zeros(1, 3)]))
    torch.testing.assert_close(sharpened(target, 1.0), target)


@pytest.mark.parametrize(
    ("wanted", "seen", "value"),
    [([0.0, 1.0], [0.5, 0.5], [1e-6, 1.0]), ([0.5, 0.5], [0.0, 1.0], [1.0, 1e-6])],
)
def test_a_class_that_is_not_wanted_or_never_seen_counts_a_millionth(wanted, seen, value):
    moved = aligned(torch.tensor([[0.5, 0.5]]), torch.tensor(wanted), torch.tensor(seen))
    torch.testing.assert_close(moved, torch.tensor([value]), rtol=1e-4, atol=0)


def test_what_is_kept_is_certain_of_its_class_and_the_rest_of_none():
    sure = certain(torch.tensor([2, 0, 1]), torch.tensor([True, False, True]), 4)
    assert sure.tolist() == [[0.0, 0.0, 1.0, 0.0], [0.0] * 4, [0.0, 1.0, 0.0, 0.0]]
    assert sure.dtype == torch.float32


def test_a_truncated_gaussian_by_hand():
    """Of 0.8 on average, standard deviation 0.1: 0.7 is one below, 0.6 two."""
    told = truncated_gaussian(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor(0.8), torch.tensor(0.01), spread=1.0)
    torch.testing.assert_close(told, torch.tensor([1.0, 1.0, math.exp(-0.5), math.exp(-2.0)]))
    told = truncated_gaussian(torch.tensor([0.7]), torch.tensor(0.8), torch.tensor(0.01), spread=0.5)
    torch.testing.assert_close(told, torch.tensor([math.exp(-2.0)]))  # the authors' n_sigma = 2


def test_where_all_are_equally_sure_all_count():
    sure = torch.full((3,), 0.4)
    assert truncated_gaussian(sure, torch.tensor(0.4), torch.tensor(0.0), spread=0.5).tolist() == [1.0] * 3
    assert truncated_gaussian(sure, torch.tensor(0.5), torch.tensor(0.0), spread=0.5).tolist() == [0.0] * 3
