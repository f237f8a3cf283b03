import pytest
import torch

from tutelage.models.neurons import Statistics, chosen

EVERY = torch.tensor(1.0)


def seen(embedding, labels, classes=3, parts=1):
    statistics = Statistics(embedding.shape[1], classes)
    for x, y in zip(embedding.chunk(parts), labels.chunk(parts), strict=True):
        statistics.see(x, y, EVERY)
    return statistics


@pytest.fixture
def data():
    """Neuron 0 tells the classes apart, 1 is noise, 2 is 0 again and larger, 3 is dead, 4 is 0 upside down."""
    labels = torch.arange(60) % 3
    good = labels + 0.1 * torch.randn(60)
    return torch.stack([good, torch.randn(60), 5 * good + 2, torch.full((60,), 7.0), -good], dim=1), labels


def test_fisher_ratio_by_hand():
    """Class means 1 and 5, overall 3: between 4; within 1."""
    x, labels = torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([0, 0, 1, 1])
    torch.testing.assert_close(seen(x, labels, classes=2).fisher(), torch.tensor([4.0], dtype=torch.double))


@pytest.mark.parametrize("parts", [1, 4])
def test_statistics_of_batches_are_those_of_all_images(data, parts):
    x, labels = data
    statistics = seen(x, labels, parts=parts)
    alive = [0, 1, 2, 4]
    wanted = torch.corrcoef(x[:, alive].double().T)
    torch.testing.assert_close(statistics.correlation()[alive][:, alive], wanted)
    assert statistics.fisher()[3] == 0
    assert statistics.correlation()[3].abs().max() < 1e-3


def test_a_weight_of_zero_and_a_batch_that_is_not_finite_are_left_out(data):
    x, labels = data
    statistics = seen(x, labels)
    before = {name: value.clone() for name, value in statistics.state_dict().items()}
    statistics.see(x, labels, torch.tensor(0.0))
    statistics.see(torch.full_like(x, torch.nan), labels, EVERY)
    torch.testing.assert_close(dict(statistics.state_dict()), before, rtol=0, atol=0)


def test_of_copies_one_is_taken_and_of_the_dead_none(data):
    x, labels = data
    statistics = seen(x, labels)
    taken = chosen(statistics.fisher(), statistics.correlation(), limit=0.8, most=5)
    assert taken[[0, 2, 4]].sum() == 1
    assert taken[1]
    assert not taken[3]
    best = chosen(statistics.fisher(), statistics.correlation(), limit=0.8, most=1)
    assert best.sum() == 1
    assert not best[1]


def test_the_best_come_first_and_block_what_is_near_them():
    value = torch.tensor([1.0, 3.0, 2.0, 0.0])
    near = torch.eye(4)
    near[0, 1] = near[1, 0] = -0.9
    near[0, 2] = near[2, 0] = 0.5
    assert chosen(value, near, limit=0.8, most=4).tolist() == [False, True, True, False]
    assert chosen(value, near, limit=0.95, most=4).tolist() == [True, True, True, False]
    assert chosen(value, near, limit=0.95, most=2).tolist() == [False, True, True, False]


def test_the_order_of_neurons_does_not_matter():
    labels = torch.arange(90) % 3
    x = torch.randn(90, 12) + labels[:, None] * torch.rand(12)
    order = torch.randperm(12)
    one, other = seen(x, labels), seen(x[:, order], labels)
    taken = chosen(one.fisher(), one.correlation(), limit=0.3, most=6)
    assert 1 < taken.sum() <= 6
    assert torch.equal(chosen(other.fisher(), other.correlation(), limit=0.3, most=6), taken[order])
