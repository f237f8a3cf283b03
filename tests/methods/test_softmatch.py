import math

import pytest
import torch

from tutelage.methods.softmatch import Memory, SoftMatch
from tutelage.types import Sizes


def log(*rows):
    return torch.tensor(rows).log()


@pytest.fixture
def by_hand(echoing, saying):
    """Two guesses on the pool, 0.6 and 0.9 sure."""

    def run(method, step=100, classes=(1 / 3, 1 / 3, 1 / 3)):
        nets = echoing(method, steps=100)
        nets.extra.state.copy_(torch.tensor([0.8, 0.01]))
        nets.extra.classes.copy_(torch.tensor(classes))
        method.after_step(nets, step)
        batch = saying(
            strong=[[0.0] * 3] * 2, weak=[[0.0] * 3] * 2, labels=[0, 1],
            pool_weak=log([0.60, 0.30, 0.10], [0.05, 0.90, 0.05]), pool_strong=log([0.1, 0.2, 0.7], [0.3, 0.3, 0.4]),
            target=[[0.0, 1.0, 0.0]] * 2, weight=[0.8, 0.0],
        )  # fmt: skip
        return method.loss(nets, batch), nets.extra

    return run


def test_an_unsure_guess_weighs_less(by_hand):
    """decay=1 keeps the averages: 0.6 is two standard deviations below 0.8, 0.9 above."""
    losses, memory = by_hand(SoftMatch(decay=1.0, spread=1.0))
    expected = (math.exp(-2.0) * -math.log(0.1) - math.log(0.3)) / 2
    torch.testing.assert_close(losses["consistency"], torch.tensor(expected))
    torch.testing.assert_close(memory.state, torch.tensor([0.8, 0.01]))


def test_a_class_that_is_guessed_often_is_trusted_less_and_keeps_its_name(by_hand):
    """As if classes were equally frequent: [.6/.6, .3/.25, .1/.15] is 0.42 sure, [.05/.6, .9/.25, .05/.15] 0.90."""
    losses, _ = by_hand(SoftMatch(decay=1.0, spread=1.0), classes=(0.6, 0.25, 0.15))
    first, second = 1.2 / (1 + 1.2 + 2 / 3), 3.6 / (1 / 12 + 3.6 + 1 / 3)
    trust = [math.exp(-0.5 * ((0.8 - min(0.8, sure)) / 0.1) ** 2) for sure in (first, second)]
    expected = (trust[0] * -math.log(0.1) + trust[1] * -math.log(0.3)) / 2  # class 0 of the first, though 1 is aligned
    torch.testing.assert_close(losses["consistency"], torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_averages_move_before_they_judge(by_hand):
    losses, memory = by_hand(SoftMatch(decay=0.0, spread=1.0))
    classes = torch.tensor([0.325, 0.6, 0.075])
    torch.testing.assert_close(memory.classes, classes)
    seen = torch.tensor([[0.60, 0.30, 0.10], [0.05, 0.90, 0.05]]) / classes
    top = (seen / seen.sum(1, keepdim=True)).amax(1)
    torch.testing.assert_close(memory.state, torch.stack([top.mean(), top.var()]), rtol=1e-4, atol=1e-4)
    far = float((top.max() - top.min()) / 2 / top.std())  # of two values the lower one is sqrt(1/2) deviations below
    assert far == pytest.approx(math.sqrt(0.5))
    low = math.exp(-0.25)
    weights = [1.0, low] if top[0] > top[1] else [low, 1.0]
    expected = (weights[0] * -math.log(0.1) + weights[1] * -math.log(0.3)) / 2
    torch.testing.assert_close(losses["consistency"], torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_ramp_guard_and_weight_scale_the_pool_only(by_hand):
    full = by_hand(SoftMatch(decay=1.0))[0]
    for step, share in ((0, 0.0), (25, 0.5), (50, 1.0)):
        half = by_hand(SoftMatch(decay=1.0, ramp=0.5), step)[0]
        torch.testing.assert_close(half["consistency"], share * full["consistency"])
    weak = by_hand(SoftMatch(decay=1.0, weight=2.0, unsupervised=0.25))[0]
    torch.testing.assert_close(weak["consistency"], 0.5 * full["consistency"])
    torch.testing.assert_close(weak["task"], full["task"])
    offline = by_hand(SoftMatch(pseudo=0.5))[0]["pseudo"]
    torch.testing.assert_close(offline, torch.tensor(0.5 * 0.8 * -math.log(0.2) / 2))


@pytest.mark.parametrize("guess", [torch.zeros(0, 3), torch.full((2, 3), math.nan), torch.tensor([[0.2, 0.7, 0.1]])])
def test_nothing_one_and_nan_leave_the_averages_alone(guess):
    memory = Memory(Sizes(2, 2, 3, 10))
    assert memory.trust(guess, 0.9, 0.5).shape == guess.shape[:1]
    torch.testing.assert_close(memory.state, torch.tensor([1 / 3, 1.0]))
    torch.testing.assert_close(memory.classes, torch.full((3,), 1 / 3))


def test_the_strong_view_of_labelled_images_counts_its_share_in_softmatch(echoing, saying):
    method = SoftMatch(strong=0.25)
    batch = saying(strong=[[1.0, 2.0, 3.0]], labels=[0])
    expected = torch.tensor(0.75 * math.log(3) + 0.25 * 2.407606)
    torch.testing.assert_close(method.loss(echoing(method, steps=10), batch)["task"], expected)
