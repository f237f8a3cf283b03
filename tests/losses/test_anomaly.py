import torch
from tolerance import close

from tutelage.losses.anomaly import disagreement, ordinal_loss, regression, regression_error


def said(*vectors):
    """Students that say one vector each, at one position of one image."""
    return torch.tensor(vectors).view(len(vectors), 1, -1, 1, 1)


def test_by_hand():
    """(0, 0) and (2, 0) are 1 and 1 from their mean (1, 0), which is 1 + 4 from the teacher's (0, 2)."""
    students, teacher = said([0.0, 0.0], [2.0, 0.0]), torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    close(regression(students, teacher), [4.0, 8.0])
    close(regression_error(students, teacher), [[[5.0]]])
    close(disagreement(students), [[[1.0]]])


def test_regression_is_summed_over_channels_and_averaged_over_images_and_positions():
    close(regression(torch.ones(3, 4, 5, 2, 2), torch.zeros(4, 5, 2, 2)), [5.0] * 3)


def test_variance_is_mean_square_less_square_of_mean():
    students = torch.randn(3, 2, 4, 5, 5, dtype=torch.double)
    formula = students.square().sum(2).mean(0) - students.mean(0).square().sum(1)
    close(disagreement(students), formula)


def test_students_that_agree_are_certain_and_those_that_equal_the_teacher_are_right():
    teacher = torch.randn(2, 4, 3, 3)
    same = teacher.expand(3, 2, 4, 3, 3)
    assert (disagreement(same + 1) < 1e-9).all()
    assert (disagreement(torch.randn(1, 2, 4, 3, 3)) == 0).all()
    assert (disagreement(torch.randn(3, 2, 4, 3, 3)) >= 0).all()
    close(regression_error(same, teacher), torch.zeros(2, 3, 3))
    close(regression(same, teacher), torch.zeros(3))


def test_only_students_learn():
    students, teacher = torch.randn(3, 2, 4, 3, 3, requires_grad=True), torch.randn(2, 4, 3, 3, requires_grad=True)
    regression(students, teacher).sum().backward()
    assert students.grad.any()
    assert teacher.grad is None


def test_ordinal_loss_pulls_as_hard_from_anywhere():
    """1 and 3 from their targets."""
    scores = torch.tensor([2.0, -3.0], requires_grad=True)
    loss = ordinal_loss(scores, torch.tensor([1.0, 0.0]))
    close(loss, 2.0)
    loss.backward()
    close(scores.grad, [0.5, -0.5])
