import math

import pytest
import torch

from tutelage.losses.cross_task import above, calibrated, corrected, finer_ranking, soft_binary

OWN = torch.tensor([True, True, False, False])  # ++, +-, -+, --
OTHER = torch.tensor([True, False, True, False])


def test_every_term_vanishes_for_the_perfect_order():
    assert finer_ranking(torch.tensor([90.0, 30.0, -30.0, -90.0]), OWN, OTHER).item() == pytest.approx(0, abs=1e-6)


def test_ranking_by_hand():
    """All alike: each of the three terms is ln 2."""
    alike = finer_ranking(torch.zeros(4), OWN, OTHER, positives=2.0, negatives=0.5)
    assert alike.item() == pytest.approx(3.5 * math.log(2))
    assert finer_ranking(torch.zeros(4), OWN, OTHER).item() == pytest.approx(3 * math.log(2))
    apart = finer_ranking(torch.tensor([2.0, 1.0, 0.0, 0.0]), OWN, OTHER, positives=2.0, negatives=0.5)
    by_one, by_two = (math.log1p(math.exp(-x)) for x in (1, 2))
    assert apart.item() == pytest.approx((by_one + by_two) / 2 + 2.0 * by_one + 0.5 * math.log(2))
    one = above(torch.tensor([1.0, 0.0]), torch.tensor([True, False]), torch.tensor([False, True]))
    assert one.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_descent_ends_in_the_order():
    scores = torch.tensor([-0.3, 0.1, 0.2, 0.4], requires_grad=True)
    for _ in range(200):
        (slope,) = torch.autograd.grad(finer_ranking(scores, OWN, OTHER), scores)
        scores = (scores - 0.5 * slope).detach().requires_grad_()
    assert scores.argsort(descending=True).tolist() == [0, 1, 2, 3]


def test_without_the_other_task_it_is_plain_ranking():
    scores = torch.randn(4)
    assert finer_ranking(scores, OWN, OTHER, positives=0.0, negatives=0.0) == above(scores, OWN, ~OWN)


def test_pairs_that_are_not_there_cost_nothing():
    scores = torch.randn(3, requires_grad=True)
    lost = finer_ranking(scores, torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool))
    lost.backward()
    assert lost == 0
    assert not scores.grad.any()


def test_correction_flips_every_wrongly_signed_logit():
    logits = torch.tensor([-2.0, 3.0, -2.0, 3.0])
    labels = torch.tensor([True, True, False, False])
    assert corrected(logits, labels, margin=0.5).tolist() == [0.5, 3.0, -2.0, -0.5]
    assert corrected(logits, labels).tolist() == [0.0, 3.0, -2.0, 0.0]
    many, signs = torch.randn(50), torch.rand(50) > 0.5
    assert ((corrected(many, signs, margin=0.1) > 0) == signs).all()


def test_calibration_of_one_and_nought_leaves_scores_and_has_no_gradient_on_them():
    scores, scale, shift = torch.randn(5, requires_grad=True), torch.tensor(1.0, requires_grad=True), torch.tensor(0.0)
    said = calibrated(scores, scale, shift)
    assert torch.equal(said, scores)
    said.sum().backward()
    assert scores.grad is None
    torch.testing.assert_close(scale.grad, scores.detach().sum())


def test_calibration_by_hand():
    said = calibrated(torch.tensor([1.0, -2.0]), torch.tensor(2.0), torch.tensor(3.0))
    assert said.tolist() == [5.0, -1.0]


def test_soft_binary_by_hand():
    """Target sigmoid(ln 3) = 3/4 and an answer of 1/2: ln 2. At T = 2 a logit of 2 ln 3 is that target."""
    student, teacher = torch.zeros(1, requires_grad=True), torch.tensor([math.log(3)], requires_grad=True)
    lost = soft_binary(student, teacher)
    assert lost.item() == pytest.approx(math.log(2))
    lost.backward()
    assert student.grad.item() == pytest.approx(0.5 - 0.75)
    assert teacher.grad is None
    warm = soft_binary(torch.ones(1), 2 * teacher, temperature=2.0)
    assert warm.item() == pytest.approx(soft_binary(torch.full((1,), 0.5), teacher).item())
