import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.ensembles import (
    heard_rows,
    log_probability,
    mean_answer,
    reinforce,
    voted_order,
    voted_triplets,
    weighted_answer,
)

A, B = [math.log(2), 0.0, 0.0], [0.0, math.log(8), 0.0]  # 1/2, 1/4, 1/4 and 1/10, 8/10, 1/10
TEACHERS = torch.tensor([[A], [B]])


def test_means_of_two_teachers_by_hand():
    torch.testing.assert_close(mean_answer(TEACHERS), torch.tensor([[0.3, 0.525, 0.175]]).log())
    root = torch.tensor([[2**0.5, 8**0.5, 1.0]])  # of 2 and 1, 1 and 8
    torch.testing.assert_close(mean_answer(TEACHERS, mean="logits").softmax(-1), root / root.sum())
    soft = (TEACHERS / 4).softmax(-1).mean(0)
    torch.testing.assert_close((mean_answer(TEACHERS, temperature=4.0) / 4).softmax(-1), soft)


def test_weights_choose_and_learn():
    weights = torch.tensor([[0.75, 0.25]], requires_grad=True)
    said = weighted_answer(TEACHERS, weights)
    torch.testing.assert_close(said.softmax(-1), torch.tensor([[0.4, 0.3875, 0.2125]]))
    said[0, 0].backward()
    torch.testing.assert_close(weights.grad, torch.tensor([[0.5, 0.1]]) / 0.4)
    surest = weighted_answer(TEACHERS, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(surest.softmax(-1), TEACHERS[0].softmax(-1))


def test_a_class_that_no_teacher_believes_in_stays_finite():
    said = mean_answer(torch.tensor([[[0.0, -500.0]], [[0.0, -300.0]]]))
    assert said.isfinite().all()
    assert said[0, 1] < -80


def test_no_gradient_reaches_teachers_or_what_a_choice_was_worth():
    student, teachers = torch.randn(4, 3), torch.randn(2, 4, 3, requires_grad=True)
    weights = torch.full((4, 2), 0.5)
    answers = [mean_answer(teachers, mean="logits"), mean_answer(teachers), weighted_answer(teachers, weights)]
    for told in (*answers, heard_rows(student, teachers, weights), voted_order(list(teachers))):
        assert not told.requires_grad
    logits, advantage = torch.zeros(4, 2, requires_grad=True), torch.ones(4, requires_grad=True)
    reinforce(logits, torch.ones(4, 2), advantage).backward()
    assert logits.grad.any()
    assert advantage.grad is None


def test_the_majority_says_which_of_two_is_nearer():
    one, other = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0], [1.0]])
    assert voted_order([one])[0, 1, 2] == 1
    assert voted_order([one, other])[0, 1, 2] == 0
    assert voted_order([one, other, 5 * other])[0, 1, 2] == -1
    torch.testing.assert_close(voted_order([one]), -voted_order([one]).mT)


def test_triplets_by_hand():
    """Squared distances of the student: 9, 1 from the first; 9, 4 from the second; 1, 4 from the third. The teacher
    has 0, 1 and 3 on a line, so it wants 1 before 2 at 0, 0 before 2 at 1, and 1 before 0 at 2."""
    teacher, student = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [3.0], [1.0]])
    by_hand = torch.tensor((8 + 5 + 3) / 3)
    torch.testing.assert_close(voted_triplets(student, [teacher]), by_hand)
    torch.testing.assert_close(voted_triplets(student, [teacher], margin=2.0), by_hand + 2)
    trust = torch.tensor([1.0, 1.0, 0.0])
    assert voted_triplets(student, [teacher], trust=trust) == 0  # no triple is left
    four = torch.cat([student, torch.tensor([[77.0]])]), torch.cat([teacher, torch.tensor([[-5.0]])])
    torch.testing.assert_close(voted_triplets(four[0], [four[1]], trust=torch.tensor([1.0, 1.0, 1.0, 0.0])), by_hand)
    half = voted_triplets(four[0], [four[1]], trust=torch.tensor([1.0, 1.0, 1.0, 0.5]))
    # From 77 the distances are 77, 74 and 76, wanted in that order. Nine of the twelve triples have the fourth image.
    torch.testing.assert_close(half, torch.tensor((16 + 0.5 * (77**2 - 74**2 + 77**2 - 76**2)) / (3 + 0.5 * 9)))


def test_a_student_that_is_one_of_unanimous_teachers_pays_nothing_and_order_does_not_matter():
    x = torch.randn(6, 4)
    assert voted_triplets(x, [x, 2 * x, 3 * x]) == 0
    assert voted_triplets(x, [x], margin=0.5) > 0
    student, teachers = torch.randn(6, 3), [torch.randn(6, 2), torch.randn(6, 5), torch.randn(6, 2)]
    places = torch.tensor([4, 1, 0, 5, 2, 3])
    moved = voted_triplets(student[places], [each[places] for each in teachers], margin=0.1)
    torch.testing.assert_close(moved, voted_triplets(student, teachers, margin=0.1))


def test_teachers_that_are_heard_by_hand():
    student = torch.zeros(3, 3)
    heard = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    rows = heard_rows(student, TEACHERS.expand(2, 3, 3), heard, temperature=2.0)
    torch.testing.assert_close(rows, torch.tensor([4 * math.log(3), 4 * math.log(3), 0.0]))
    said = torch.tensor([A])
    alone = heard_rows(said, TEACHERS, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(alone, 0.1 * torch.tensor([math.log(2)]) + 0.9 * math.log(4))


def test_hearing_all_has_the_gradient_of_the_mean():
    student, teachers = torch.randn(5, 3, requires_grad=True), torch.randn(4, 5, 3)
    (ours,) = torch.autograd.grad(heard_rows(student, teachers, torch.ones(5, 4), temperature=3.0).sum(), student)
    soft = (mean_answer(teachers, temperature=3.0) / 3).softmax(-1)
    mean = 9 * F.cross_entropy(student / 3, soft, reduction="sum")
    torch.testing.assert_close(ours, torch.autograd.grad(mean, student)[0])


def test_the_slope_of_a_fair_choice_is_half_the_state():
    weight, state = torch.zeros(4, requires_grad=True), torch.tensor([1.0, -2.0, 0.5, 4.0])
    for chosen, sign in ((1.0, 0.5), (0.0, -0.5)):
        said = log_probability((weight * state).sum(), torch.tensor(chosen))
        torch.testing.assert_close(said, torch.tensor(math.log(0.5)))
        torch.testing.assert_close(torch.autograd.grad(said, weight)[0], sign * state)


def test_what_was_chosen_counts_its_advantage_on_average():
    loss = reinforce(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]), torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(loss, torch.tensor(2 * math.log(2)))


@pytest.mark.parametrize("baseline", [0.0, 3.0])
def test_a_baseline_does_not_change_the_expected_slope(baseline):
    """All four choices of two teachers, each by its probability, with a reward for each."""
    logits, rewards = (
        torch.tensor([[0.3, -1.2]], requires_grad=True),
        {(0, 0): 1.0, (0, 1): -2.0, (1, 0): 0.5, (1, 1): 4.0},
    )
    total = torch.zeros(1, 2)
    for choice in itertools.product((0, 1), repeat=2):
        chosen = torch.tensor([choice], dtype=torch.float)
        chance = log_probability(logits, chosen).sum().exp().detach()
        loss = reinforce(logits, chosen, torch.tensor([rewards[choice] - baseline]))
        total += chance * torch.autograd.grad(loss, logits)[0]
    p = logits.detach().sigmoid()[0]
    first = (1 - p[1]) * (rewards[1, 0] - rewards[0, 0]) + p[1] * (rewards[1, 1] - rewards[0, 1])
    torch.testing.assert_close(total[0, 0], -first * p[0] * (1 - p[0]))
