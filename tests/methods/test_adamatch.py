import math

import pytest
import torch

from tutelage.methods.adamatch import AdaMatch, Memory
from tutelage.types import Sizes


def log(*rows):
    return torch.tensor(rows).log()


@pytest.fixture
def by_hand(echoing, saying):
    """Labelled weak views are 0.8 sure on average; the pool guesses class 0 twice as often as labels have it."""

    def run(method, step=100):
        nets = echoing(method, steps=100)
        nets.extra.labeled.copy_(torch.tensor([0.30, 0.40, 0.30]))
        nets.extra.unlabeled.copy_(torch.tensor([0.60, 0.25, 0.15]))
        method.after_step(nets, step)
        batch = saying(
            strong=[[0.0] * 3] * 2, weak=log([0.9, 0.05, 0.05], [0.1, 0.7, 0.2]), labels=[0, 1],
            pool_weak=log([0.60, 0.30, 0.10], [0.05, 0.90, 0.05]), pool_strong=log([0.1, 0.2, 0.7], [0.3, 0.3, 0.4]),
        )  # fmt: skip
        return method.loss(nets, batch)

    return run


def test_alignment_and_relative_threshold(by_hand):
    """decay=1 keeps the frequencies. Aligned: [.30, .48, .20] / .98 = class 1 at .4898, and class 1 at .9372."""
    for confidence, kept in ((0.61, [0.2, 0.3]), (0.62, [0.3]), (1.0, [0.3])):  # of 0.8: .488, .496, .8
        loss = by_hand(AdaMatch(decay=1.0, confidence=confidence))["consistency"]
        torch.testing.assert_close(loss, torch.tensor(sum(-math.log(p) for p in kept) / 2))


def test_without_alignment_the_first_guess_would_be_another_class(by_hand):
    method = AdaMatch(decay=0.0, confidence=0.0)  # frequencies of this batch alone
    labelled, pool = torch.tensor([0.5, 0.375, 0.125]), torch.tensor([0.325, 0.6, 0.075])
    aligned = torch.tensor([[0.6, 0.3, 0.1], [0.05, 0.9, 0.05]]) * labelled / pool
    assert aligned.argmax(-1).tolist() == [0, 1]
    loss = by_hand(method)["consistency"]
    torch.testing.assert_close(loss, torch.tensor((-math.log(0.1) - math.log(0.3)) / 2))


def test_ramp_over_the_first_half(by_hand):
    full = by_hand(AdaMatch(decay=1.0))["consistency"]
    for step, share in ((0, 0.0), (25, 0.5), (50, 1.0)):
        torch.testing.assert_close(by_hand(AdaMatch(decay=1.0), step)["consistency"], share * full)


def test_guard_and_weight_scale_the_pool_only(by_hand):
    plain, weak = by_hand(AdaMatch()), by_hand(AdaMatch(weight=2.0, unsupervised=0.25))
    torch.testing.assert_close(weak["consistency"], 0.5 * plain["consistency"])
    torch.testing.assert_close(weak["task"], plain["task"])


def test_frequencies_are_moving_averages(by_hand, echoing, saying):
    method = AdaMatch()
    nets = echoing(method, steps=10)
    batch = saying(strong=[[0.0] * 3], weak=log([0.8, 0.1, 0.1]), labels=[0], pool_weak=log([0.2, 0.2, 0.6]),
                   pool_strong=[[0.0] * 3])  # fmt: skip
    method.loss(nets, batch)
    third = torch.full((3,), 1 / 3)
    torch.testing.assert_close(nets.extra.labeled, 0.99 * third + 0.01 * torch.tensor([0.8, 0.1, 0.1]))
    torch.testing.assert_close(nets.extra.unlabeled, 0.99 * third + 0.01 * torch.tensor([0.2, 0.2, 0.6]))


def test_nothing_and_nan_leave_the_frequencies_alone():
    memory = Memory(Sizes(2, 2, 3, 10))
    memory.see(torch.full((2, 3), math.nan), torch.zeros(0, 3), 0.9)
    torch.testing.assert_close(memory.labeled, torch.full((3,), 1 / 3))
    torch.testing.assert_close(memory.unlabeled, torch.full((3,), 1 / 3))


def test_offline_labels_are_half_a_term_by_default(echoing, saying):
    method = AdaMatch()
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=[[0.0] * 3] * 2, target=[[0.0, 1.0, 0.0]] * 2,
                   weight=[0.8, 0.0])  # fmt: skip
    expected = torch.tensor(0.5 * 0.8 * math.log(3) / 2)
    torch.testing.assert_close(method.loss(echoing(method, steps=10), batch)["pseudo"], expected)


def test_the_strong_view_of_labelled_images_counts_its_share_in_adamatch(echoing, saying):
    method = AdaMatch(strong=0.25)
    batch = saying(strong=[[1.0, 2.0, 3.0]], labels=[0])
    expected = torch.tensor(0.75 * math.log(3) + 0.25 * 2.407606)
    torch.testing.assert_close(method.loss(echoing(method, steps=10), batch)["task"], expected)
