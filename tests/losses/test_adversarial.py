import math

import pytest
import torch

from tutelage.losses.adversarial import critic_accuracy, critic_loss, label_game, reversed_gradient, verdict_loss


def test_a_critic_that_knows_nothing_costs_ln_2():
    for real in (True, False):
        for shape in ((4, 1), (2, 1, 3, 3)):
            assert verdict_loss(torch.zeros(shape), real=real, form="bce") == pytest.approx(0.693147, abs=1e-6)
    assert critic_loss(torch.zeros(3, 1), torch.zeros(5, 1), form="bce") == pytest.approx(math.log(2))


def test_values_by_hand():
    three = torch.tensor([[math.log(3)], [math.log(3)]])  # 3 to 1 for real
    torch.testing.assert_close(verdict_loss(three, real=True, form="bce"), torch.tensor(math.log(4 / 3)))
    torch.testing.assert_close(verdict_loss(three, real=False, form="bce"), torch.tensor(math.log(4)))
    torch.testing.assert_close(
        verdict_loss(torch.tensor([[0.5], [-1.0]]), real=True, form="least_squares"), torch.tensor((0.25 + 4) / 2)
    )
    real, other = torch.tensor([[1.0]]), torch.tensor([[0.5], [0.0]])
    torch.testing.assert_close(critic_loss(real, other, form="least_squares"), torch.tensor(0.0625))


def test_how_often_it_is_right():
    assert critic_accuracy(torch.tensor([[1.0], [-1.0]]), torch.tensor([[-2.0], [-1.0]])) == 0.75
    assert critic_accuracy(torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([[-2.0], [0.5]])) == pytest.approx(7 / 12)
    assert critic_accuracy(torch.ones(16, 1), torch.ones(8, 1)) == 0.5  # whatever the sizes
    assert critic_accuracy(torch.zeros(3, 1), torch.zeros(2, 1)) == 0.5  # nor does one that has not begun


def test_a_sure_critic_still_has_a_slope():
    verdict = torch.full((2, 1), -200.0, requires_grad=True)
    verdict_loss(verdict, real=True, form="bce").backward()
    torch.testing.assert_close(verdict.grad, torch.full((2, 1), -0.5))


def test_a_reversed_gradient_changes_its_sign_and_nothing_else():
    x = torch.randn(3, 2, requires_grad=True)
    same = reversed_gradient(x)
    assert torch.equal(same, x)
    (same * torch.arange(6.0).view(3, 2)).sum().backward()
    assert torch.equal(x.grad, -torch.arange(6.0).view(3, 2))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_critic_of_labels_that_cannot_tell_has_the_value_of_the_equilibrium(share):
    undecided = torch.zeros(5)
    value = label_game(undecided, undecided, undecided, share=share)
    torch.testing.assert_close(value, torch.tensor(-2 * math.log(2)))


def test_value_of_a_game_of_labels_by_hand():
    real, ours = torch.tensor([math.log(3), 0.0]), torch.tensor([math.log(3)] * 2)
    theirs = -ours
    value = label_game(real, ours, theirs, share=0.25)  # D is 3/4 and 1/2; 3/4; 1/4
    by_hand = 0.5 * (math.log(0.75) + math.log(0.5)) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    torch.testing.assert_close(value, torch.tensor(by_hand))
