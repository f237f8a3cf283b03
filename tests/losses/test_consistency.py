import torch

from tutelage.losses.consistency import softmax_mse


def test_value_by_hand():
    # probabilities .880797, .119203 against their mirror image: 2 * .761594^2 / 2 classes
    loss = softmax_mse(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
    torch.testing.assert_close(loss, torch.tensor([0.580026]), atol=1e-6, rtol=0)


def test_only_the_student_learns_and_each_row_stands_alone():
    student, teacher = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    softmax_mse(student, teacher)[1].backward()
    assert teacher.grad is None
    assert student.grad[1].any()
    assert not student.grad[[0, 2, 3, 4]].any()
