import torch

from tutelage.models.ladder import Ladder


def active(ladder, schedule):
    layers, top = ladder.weights(schedule)
    return [*layers.tolist(), top.item()]


def test_stacked_layers_grow_by_one_each_turn():
    ladder = Ladder(3, steps=9.0)
    counts = []
    for step in range(12):
        ladder.climb(step, 0.0)
        counts.append(sum(active(ladder, "stacked")))
        assert sum(active(ladder, "progressive")) == 1
        assert active(ladder, "all") == [1, 1, 1, 1]
    assert counts == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert active(ladder, "progressive") == [0, 0, 0, 1]


def test_a_layer_below_the_threshold_makes_way_and_time_goes_on():
    ladder = Ladder(3, steps=9.0)
    ladder.see(torch.tensor([0.5, 9.0, 9.0]))
    ladder.climb(1, 0.5)
    assert ladder.done == 0  # not below
    ladder.climb(1, 0.6)
    assert ladder.done == 1
    ladder.see(torch.tensor([0.1, 9.0, 0.1]))  # only the layer whose turn it is counts
    ladder.climb(2, 0.6)
    assert ladder.done == 1
    ladder.climb(6, 0.6)
    assert ladder.done == 2
    ladder.climb(100, 0.6)
    assert ladder.done == 3


def test_no_time_for_the_layers_means_their_turns_are_over():
    ladder = Ladder(2, steps=0.0)
    ladder.climb(1, 0.0)
    assert active(ladder, "stacked") == [1, 1, 1]
