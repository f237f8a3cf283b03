import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.ranking import (
    discrepancy_weights,
    distance_scores,
    first_others,
    list_mle,
    list_net,
    neighbour_triplets,
    pair_log_loss,
    position_weights,
)

TEACHER = torch.tensor([[0.0], [1.0], [3.0]])


def close(loss, value, atol=1e-6):
    torch.testing.assert_close(loss, torch.tensor(value), atol=atol, rtol=0)


def lists(student, teacher, length):
    items = first_others(distance_scores(teacher, alpha=1.0, beta=1.0), length)
    return distance_scores(student, alpha=1.0, beta=1.0).gather(1, items)


@pytest.mark.parametrize(
    ("student", "value"), [([0.0, 1.0, 3.0], 0.251150), ([0.0, 3.0, 1.0], 1.584484), ([0.0, 0.0, 0.0], math.log(2))]
)
def test_lists_of_points_on_a_line(student, value):
    close(list_mle(lists(torch.tensor(student)[:, None], TEACHER, 2)).mean(), value, atol=1e-5)


def test_scores_are_minus_alpha_times_a_power_of_the_distance():
    scores = distance_scores(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), alpha=2.0, beta=3.0)
    torch.testing.assert_close(scores, torch.tensor([[0.0, -250.0], [-250.0, 0.0]]))


def test_powers_below_one_have_a_finite_slope():
    x = torch.tensor([[0.0], [0.0], [2.0]], requires_grad=True)
    distance_scores(x, beta=0.5).sum().backward()
    assert x.grad.isfinite().all()


def test_a_list_is_the_best_others_best_first_and_no_longer_than_there_are():
    scores = torch.tensor([[9.0, 1.0, 2.0], [5.0, 9.0, 7.0], [3.0, 4.0, 0.0]])
    assert first_others(scores, 2).tolist() == [[2, 1], [2, 0], [1, 0]]
    assert first_others(scores, 1).tolist() == [[2], [2], [1]]
    assert first_others(scores, 7).shape == (3, 2)
    assert first_others(scores[:1, :1], 4).shape == (1, 0)


def test_probabilities_of_all_orders_sum_to_one():
    scores = torch.randn(4)
    orders = torch.tensor(list(itertools.permutations(range(4))))
    close((-list_mle(scores[orders])).exp().sum(), 1.0)


def test_soft_lists_are_zero_where_scores_agree():
    teacher = torch.tensor([[math.log(3.0), 0.0]])  # the order is right in 3 of 4 cases
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    student = teacher.clone().requires_grad_()
    loss = list_net(student, teacher)
    loss.sum().backward()
    close(loss.detach()[0], 0.0)
    close(student.grad.abs().max(), 0.0)
    close(list_net(torch.zeros(1, 2), teacher)[0], math.log(2) - entropy)
    # A student who is sure of the wrong order: 1/4 of them right
    close(list_net(-teacher, teacher)[0], -(0.75 * math.log(0.25) + 0.25 * math.log(0.75)) - entropy)


def test_a_shift_of_all_scores_changes_no_order():
    student, teacher = torch.randn(5, 4), torch.randn(5, 4)
    torch.testing.assert_close(list_mle(student + 3), list_mle(student))
    torch.testing.assert_close(list_net(student + 3, teacher - 2), list_net(student, teacher))


def test_only_the_student_learns_lists():
    student, teacher = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    list_net(student, teacher).sum().backward()
    assert student.grad.any()
    assert teacher.grad is None


def test_triplets_by_hand():
    x, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 0, 1])
    # d(0, 1) = 1. Of 0: 1 - 4 + 1.8 < 0, nothing to push. Of 1: 1 - 1 + 1.8.
    close(neighbour_triplets(x, labels, epsilon=0.1, margin=0.9), (0.5 * 1 + 0.5 * (1 + 0.1 * 1.8)) / 2)


def test_triplets_take_the_mean_over_negatives():
    x, labels = torch.tensor([[0.0], [1.0], [1.5], [9.0]]), torch.tensor([0, 0, 1, 1])
    pulls = [1, 1, 56.25, 56.25]
    pushes = [0.55, (1.8 + 2.55) / 2, (55.8 + 57.8) / 2, 0.0]
    pushes[0] = (1 - 2.25 + 1.8) / 2
    pushes[2] = ((56.25 - 2.25 + 1.8) + (56.25 - 0.25 + 1.8)) / 2
    pushes[1] = ((1 - 0.25 + 1.8) + 0) / 2
    wanted = sum(0.5 * (pull + 0.1 * push) for pull, push in zip(pulls, pushes, strict=True)) / 4
    close(neighbour_triplets(x, labels), wanted, atol=1e-5)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0]])
def test_a_batch_without_pairs_or_without_negatives_has_a_graph(labels):
    x = torch.randn(3, 2, requires_grad=True)
    for loss in (
        neighbour_triplets(x, torch.tensor(labels)),
        pair_log_loss(x @ x.T, torch.tensor(labels), negatives=3.0),
    ):
        loss.backward()
        assert loss.isfinite()
        assert x.grad.isfinite().all()


def test_pairs_by_hand():
    scores = torch.tensor([[50.0, 1.0, -2.0], [3.0, -50.0, 0.5], [0.0, 2.0, 50.0]])
    same, different = torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.5, 0.0, 2.0])
    wanted = -F.logsigmoid(same).mean() - 3 * F.logsigmoid(-different).mean()
    torch.testing.assert_close(pair_log_loss(scores, torch.tensor([4, 4, 1]), negatives=3.0), wanted)


def test_position_weights():
    torch.testing.assert_close(
        position_weights(torch.zeros(2, 3, dtype=torch.long), 1.0), torch.tensor([0.665241, 0.244728, 0.090031])
    )
    assert position_weights(torch.zeros(2, 3, dtype=torch.long), 1e4).std() < 1e-4


def test_only_what_the_student_ranks_too_low_is_taught():
    scores = torch.arange(20.0)[None].requires_grad_()  # item 19 is the student's first
    items = torch.tensor([[9, 18, 19, 6]])  # of rank 10, 1, 0, 13, where the teacher says 0, 1, 2, 3
    everyone = torch.ones(1, 20, dtype=torch.bool)
    weights = discrepancy_weights(scores, items, candidates=everyone, mu=0.1)
    torch.testing.assert_close(weights, torch.tensor([[0.761594, 0.0, 0.0, 0.761594]]))
    assert not weights.requires_grad
    few = everyone & (torch.arange(20) < 15)  # the five best are no candidates
    weights = discrepancy_weights(scores, items, candidates=few, mu=0.1)
    torch.testing.assert_close(weights, torch.tensor([[math.tanh(0.5), 0.0, 0.0, math.tanh(0.5)]]))


def test_scores_fall_with_three_times_the_cube_unless_told():
    close(distance_scores(torch.tensor([[0.0], [2.0]])), [[0.0, -24.0], [-24.0, 0.0]])


def test_lists_do_not_see_each_other():
    close(list_mle(torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])), [math.log(2), math.log(4 / 3)])
