import math

import pytest
import torch

from tutelage.losses.information import correlation_entropy, missing_information

LOSSES = [correlation_entropy, missing_information]
every_loss = pytest.mark.parametrize("loss", LOSSES)


def close(loss, value, atol=1e-4):
    torch.testing.assert_close(loss, torch.tensor(value), atol=atol, rtol=0)


@pytest.mark.parametrize(("n", "d", "alpha", "value"), [(8, 4, 1.5, -7.0), (16, 2, 1.0, -7.0), (8, 8, 1.01, -3.06)])
def test_agreement_is_a_correlation_just_below_one(n, d, alpha, value):
    x = torch.randn(n, d)
    close(correlation_entropy(x, x, alpha=alpha), value)  # log2(d) - 2 alpha log2(n)


def test_correlations_by_hand():
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    teacher = torch.tensor([[-2.0, 5.0], [2.0, 5.0], [0.0, 6.0], [0.0, 6.0]])
    # First dimension: standardised by sqrt(2 / 3), c = -3/4, |c - 1| = 7/4. Second: products cancel, c = 0.
    close(correlation_entropy(student, teacher, alpha=1.5), math.log2(1.75**3 + 1))


def test_half_a_trust_counts_half_in_means_and_deviations():
    """By shares 2/5, 2/5, 1/5: variances 0.8 and 0.56, both over 1 - 9/25; products 0.4."""
    student, teacher = torch.tensor([[1.0], [-1.0], [0.0]]), torch.tensor([[1.0], [0.0], [-1.0]])
    correlation = 0.4 * 0.64 / math.sqrt(0.8 * 0.56)
    found = correlation_entropy(student, teacher, alpha=1.5, trust=torch.tensor([1.0, 1.0, 0.5]))
    close(found, 3 * math.log2(1 - correlation))


def test_correlation_does_not_see_place_or_size_of_a_dimension():
    student, teacher = torch.randn(9, 3), torch.randn(9, 3)
    moved = student * torch.tensor([2.0, 0.1, 30.0]) + torch.tensor([1.0, -5.0, 9.0])
    torch.testing.assert_close(correlation_entropy(moved, 5 * teacher - 1), correlation_entropy(student, teacher))


def test_a_dimension_that_says_nothing_is_correlated_with_nothing():
    student, teacher = torch.randn(6, 3), torch.randn(6, 3)
    student[:, 1] = 7.0
    student.requires_grad_()
    loss = correlation_entropy(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_information_by_hand():
    student = torch.tensor([[1.0, 0.0], [3.0, 0.0]])  # the same direction: a Gram matrix of ones
    teacher = torch.tensor([[2.0, 0.0], [1.0, math.sqrt(3)]])  # 60 degrees: 1/2 off the diagonal
    close(missing_information(student, teacher), (4 - 2 - 2 / 4) / 4)  # traces are 2, squared 4
    close(missing_information(teacher, student), 0.0)  # what it relates is the same to the other


def test_information_depends_on_gram_matrices_only():
    student, teacher = torch.randn(7, 4), torch.randn(7, 6)
    rotation = torch.linalg.qr(torch.randn(6, 6)).Q
    loss = missing_information(student, teacher)
    torch.testing.assert_close(missing_information(4 * student, teacher @ rotation), loss)
    assert loss > 0


@every_loss
def test_untrusted_images_might_as_well_not_be_there(loss):
    student, teacher = torch.randn(7, 3), torch.randn(7, 3)
    part = loss(student, teacher, trust=torch.tensor([1.0] * 4 + [0.0] * 3))
    torch.testing.assert_close(part, loss(student[:4], teacher[:4]))
    half = loss(student, teacher, trust=torch.tensor([1.0] * 4 + [0.5] * 3))
    full = loss(student, teacher, trust=torch.ones(7))
    torch.testing.assert_close(loss(student, teacher), full)
    torch.testing.assert_close(loss(student, teacher, trust=torch.tensor([2.0] * 4 + [1.0] * 3)), half)
    assert not torch.isclose(part, half)
    assert not torch.isclose(half, full)


@every_loss
def test_one_image_has_a_loss_and_a_gradient(loss):
    student = torch.randn(1, 4, requires_grad=True)
    value = loss(student, torch.randn(1, 4))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@every_loss
def test_only_the_student_learns_and_nothing_is_rounded(loss):
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    wanted = loss(student, teacher)
    wanted.backward()
    assert student.grad.any()
    assert teacher.grad is None
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(student, teacher), wanted, rtol=0, atol=0)


def test_alpha_is_one_and_a_half_unless_told():
    student, teacher = torch.tensor([[1.0], [-1.0]]), torch.tensor([[-1.0], [1.0]])
    close(correlation_entropy(student, teacher), 3 * math.log2(1.5))  # a correlation of -1/2
