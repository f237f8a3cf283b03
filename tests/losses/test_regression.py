import pytest
import torch
from tolerance import close

from tutelage.losses.regression import (
    bounded_error,
    huber,
    imitation_trust,
    outlier_rejection,
    row_means,
    squared_error,
    trusted_labels,
)

SURE = torch.ones(1, 1)


def column(*values):
    return torch.tensor(values)[:, None]


def test_a_teacher_is_trusted_by_how_right_it_is():
    """1 - e / 0.9 of 0.1, 0.5 and 1: the last is -0.111, which is clamped."""
    error = torch.tensor([0.1, 0.5, 1.0])
    close(imitation_trust(error, error.min(), error.max()), [0.888889, 0.444444, 0.0])
    error = torch.tensor([0.0, 2.0])
    close(imitation_trust(error, error.min(), error.max()), [1.0, 0.0])  # right, and worst
    same = torch.tensor([0.3, 0.3])
    close(imitation_trust(same, same.min(), same.max()), [0.0, 0.0])  # and not infinite
    right = torch.zeros(2)
    close(imitation_trust(right, right.min(), right.max()), [1.0, 1.0])  # always, and no number over itself


def test_what_is_better_than_its_teacher_by_the_margin_is_left_alone():
    """Margin 1/8: 0.5 of 1 is better by more, 1 equal, 0.95 better by less, 2 worse, and 7/8 better by just that."""
    student, teacher = torch.tensor([0.5, 1.0, 0.95, 2.0, 0.875], requires_grad=True), torch.ones(5, requires_grad=True)
    loss = bounded_error(student, teacher, margin=0.125)
    close(loss, [0.0, 1.0, 0.95, 2.0, 0.0])
    loss.sum().backward()
    close(student.grad, [0.0, 1.0, 1.0, 1.0, 0.0])
    assert teacher.grad is None


LABELS = column(0.0, 1.0, 2.0, 3.0, 50.0)
TEACHER = column(0.1, 0.9, 2.1, 2.9, 4.1)  # off by 0.1 four times, and by 45.9


def test_a_grossly_wrong_label_is_replaced_by_what_the_teacher_says():
    """sigma = 1.4826 x 0.1. The student says 4 of the fifth: 0.1 from its teacher, 46 from the label."""
    weight, said = torch.ones(5, 1), column(0.0, 0.0, 0.0, 0.0, 4.0).requires_grad_()
    assert trusted_labels(TEACHER, LABELS, weight, threshold=3.0)[:, 0].tolist() == [True] * 4 + [False]
    loss = outlier_rejection(said, TEACHER, LABELS, weight)
    close(loss, [0.0, 1.0, 2.0, 3.0, 0.1])
    loss[4].backward()
    close(said.grad[4], [-1.0])  # up to 4.1
    above = torch.full_like(said, 5.0).detach().requires_grad_()
    outlier_rejection(above, TEACHER, LABELS, weight)[4].backward()
    close(above.grad[4], [1.0])  # and down to it, away from the label
    close(outlier_rejection(said, TEACHER, LABELS, weight, threshold=torch.inf), [0.0, 1.0, 2.0, 3.0, 46.0])


def test_a_deviation_is_that_of_a_normal_distribution():
    """Three of 1.4826 x 0.1 are 0.445."""
    for off, believed in ((0.44, True), (0.45, False)):
        teacher = torch.cat([TEACHER[:4], LABELS[4:] + off])
        assert trusted_labels(teacher, LABELS, torch.ones(5, 1), threshold=3.0)[4].item() is believed


def test_three_deviations_are_believed_unless_told():
    """The teacher is 0.5 off the label, 3.4 deviations: what it says, half a step from the answer, takes its place."""
    teacher, said = torch.cat([TEACHER[:4], LABELS[4:] - 0.5]), LABELS - 1.0
    close(outlier_rejection(said, teacher, LABELS, torch.ones(5, 1))[4:], [0.5])


def test_labels_that_a_teacher_says_itself_are_believed_where_it_is_never_off():
    assert trusted_labels(LABELS, LABELS, torch.ones(5, 1), threshold=3.0).all()


def test_one_scale_is_read_from_all_numbers_of_the_batch():
    """Of three times 0.1 and three times 1 the lower median is 0.1: the second column is far off as a whole."""
    teacher = torch.tensor([[0.1, 1.0]]).expand(3, 2)
    found = trusted_labels(teacher, torch.zeros(3, 2), torch.ones(3, 2), threshold=3.0)
    assert found.tolist() == [[True, False]] * 3


def test_how_far_labels_are_from_teachers_is_read_where_there_are_labels():
    """With the first four blind the scale is that of the last: nothing is an outlier."""
    weight = column(0.0, 0.0, 0.0, 0.0, 1.0)
    assert trusted_labels(TEACHER, LABELS, weight, threshold=3.0).all()
    blind = torch.zeros(5, 1)
    close(outlier_rejection(TEACHER, TEACHER, LABELS, blind), torch.zeros(5))


def test_means_are_over_what_has_a_weight():
    loss = torch.tensor([[1.0, 4.0], [torch.nan, 4.0], [5.0, 6.0]])
    weight = torch.tensor([[1.0, 0.5], [0.0, 0.5], [0.0, 0.0]])
    close(row_means(loss, weight), [1.5, 2.0, 0.0])  # (1 + 2) / 2, 2 / 1


def test_squares_and_huber_by_hand():
    said, wanted, weight = torch.tensor([[1.5, 5.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.5]])
    close(squared_error(said, wanted, weight), [(0.25 + 0.5 * 9) / 2])
    close(huber(said, wanted, weight), [(0.125 + 0.5 * 2.5) / 2])
    close(squared_error(wanted, wanted, weight), [0.0])  # what agrees counts in the mean all the same
    half = torch.tensor([[1.0, 5.0]])
    close(squared_error(half, wanted, weight), [0.5 * 9 / 2])
    close(huber(half, wanted, weight), [0.5 * 2.5 / 2])
    close(outlier_rejection(half, wanted, wanted, weight), [0.5 * 3 / 2])


@pytest.mark.parametrize("loss", [squared_error, huber])
def test_only_the_student_learns(loss):
    said, wanted = torch.ones(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    loss(said, wanted, SURE).sum().backward()
    assert said.grad.any()
    assert wanted.grad is None
    said, teacher = column(0.0).requires_grad_(), column(1.0).requires_grad_()
    outlier_rejection(said, teacher, column(9.0), SURE, threshold=0.1).sum().backward()
    assert teacher.grad is None
