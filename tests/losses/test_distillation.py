import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import (
    alike_classes,
    kl_rows,
    oracle_rows,
    permuted_dark_knowledge,
    soft_label_kl,
    target_kl,
    virtual_teacher,
)
from tutelage.losses.targets import soft_cross_entropy

STUDENT, TEACHER = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])


@pytest.mark.parametrize(("temperature", "value"), [(1, 1.150421), (4, 1.319630), (1000, 1.333333)])
def test_values_by_temperature(temperature, value):
    loss = soft_label_kl(STUDENT.double(), TEACHER.double(), temperature=float(temperature))
    torch.testing.assert_close(loss.float(), torch.tensor(value), atol=1e-6, rtol=0)


def test_direction_is_from_teacher_to_student():
    # 3/4 ln((3/4) / (1/2)) + 1/4 ln((1/4) / (1/2)); the other direction is 0.143841
    loss = soft_label_kl(torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]]))
    torch.testing.assert_close(loss, torch.tensor(0.130812), atol=1e-6, rtol=0)


def test_high_temperature_is_logit_matching():
    student, teacher = torch.randn(4, 5, dtype=torch.double), torch.randn(4, 5, dtype=torch.double)
    apart = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = apart.square().sum(1).mean() / (2 * 5)
    torch.testing.assert_close(soft_label_kl(student, teacher, temperature=1e4), limit, rtol=1e-3, atol=0)


def test_size_of_the_gradient_does_not_fall_with_temperature():
    def size(temperature):
        student = STUDENT.clone().requires_grad_()
        soft_label_kl(student, TEACHER, temperature=temperature).backward()
        return student.grad.norm()

    assert 0.5 < size(20.0) / size(4.0) < 2.0  # 1 / T^2 would be 0.04


def test_mean_divides_by_classes_and_batchmean_by_images_only():
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    soft, wanted = F.log_softmax(student / 3, -1), (teacher / 3).softmax(-1)
    for reduction, times in (("batchmean", 1), ("mean", 5)):
        theirs = 9 * F.kl_div(soft, wanted, reduction="batchmean") / times
        torch.testing.assert_close(soft_label_kl(student, teacher, temperature=3.0, reduction=reduction), theirs)
        torch.testing.assert_close(kl_rows(student, teacher, temperature=3.0, reduction=reduction).mean(), theirs)
        theirs = F.kl_div(student.log_softmax(-1), wanted, reduction="batchmean") / times
        torch.testing.assert_close(target_kl(student, wanted, reduction=reduction), theirs)


def test_a_shift_of_all_logits_changes_nothing_and_agreement_costs_nothing():
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    loss = soft_label_kl(student, teacher, temperature=4.0)
    torch.testing.assert_close(soft_label_kl(student + 7, teacher - 3, temperature=4.0), loss)
    same = teacher.clone().requires_grad_()
    zero = soft_label_kl(same, teacher, temperature=4.0)
    zero.backward()
    torch.testing.assert_close(zero.detach(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(same.grad, torch.zeros(6, 5), atol=1e-6, rtol=0)


def test_only_the_student_learns():
    student, teacher = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5, requires_grad=True)
    soft_label_kl(student, teacher).backward()
    assert student.grad.any()
    assert teacher.grad is None


def test_nothing_to_distil_is_a_zero_in_the_graph():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = soft_label_kl(student, torch.zeros(0, 5))
    assert loss == 0
    assert loss.requires_grad


def test_target_kl_is_cross_entropy_less_the_entropy_of_the_target():
    logits, target = torch.randn(6, 5), torch.randn(6, 5).softmax(-1)
    entropy = -(target * target.log()).sum(-1)
    torch.testing.assert_close(target_kl(logits, target), (soft_cross_entropy(logits, target) - entropy).mean())


@pytest.mark.parametrize(
    ("form", "temperature", "label", "other"),
    [("code", 20.0, 0.0105021, 0.0099949), ("power", 20.0, 0.0157412, 0.0099420), ("power", 1.0, 0.99, 0.01 / 99)],
)
def test_virtual_teacher(form, temperature, label, other):
    p = virtual_teacher(torch.tensor([2, 0]), 100, temperature=temperature, form=form)
    torch.testing.assert_close(p.sum(-1), torch.ones(2))
    expected = torch.full((2, 100), other)
    expected[0, 2] = expected[1, 0] = label
    torch.testing.assert_close(p, expected, atol=1e-7, rtol=1e-5)


def test_permuted_dark_knowledge_keeps_the_top_and_shuffles_the_rest():
    p = torch.randn(50, 6).softmax(-1)
    shuffled = permuted_dark_knowledge(p)
    top = p.argmax(-1, keepdim=True)
    assert torch.equal(shuffled.gather(1, top), p.gather(1, top))
    assert torch.equal(shuffled.sort(-1).values, p.sort(-1).values)  # so it sums to one and has the same arg-max
    moved = (shuffled != p).float().mean()
    assert 0.55 < moved < 0.75  # 5 of 6 places, 4 of 5 times


def test_permuted_dark_knowledge_is_fair_to_every_place():
    p = torch.tensor([0.7, 0.3, 0.0, 0.0]).expand(3000, 4)
    torch.testing.assert_close(
        permuted_dark_knowledge(p).mean(0), torch.tensor([0.7, 0.1, 0.1, 0.1]), atol=0.01, rtol=0
    )


def test_the_teacher_learns_only_where_it_is_asked_to():
    student, teacher = torch.randn(6, 5), torch.randn(6, 5, requires_grad=True)
    kl_rows(student, teacher, temperature=2.0, teacher_learns=True).sum().backward()
    assert teacher.grad.any()
    assert not kl_rows(student, teacher).requires_grad


def oracle(student, teachers, label, share=0.9, temperature=4.0):
    return oracle_rows(
        student, torch.tensor(teachers)[:, None], torch.tensor([label]), share=share, temperature=temperature
    )


def test_an_oracle_of_one_teacher_that_is_right_is_kd():
    by_hand = 0.1 * F.cross_entropy(STUDENT, torch.tensor([0])) + 0.9 * 1.319630
    torch.testing.assert_close(oracle(STUDENT, [[3.0, 2.0, 1.0]], 0), by_hand[None], atol=1e-6, rtol=0)


def test_an_oracle_that_knows_nothing_leaves_all_to_the_label():
    hard = F.cross_entropy(STUDENT, torch.tensor([1]))
    for wrong in ([3.0, 2.0, 1.0], [0.0, -50.0, 90.0]):
        torch.testing.assert_close(oracle(STUDENT, [wrong, [3.0, 2.0, 1.0]], 1), hard[None])


def test_teachers_that_are_wrong_are_not_heard_and_the_others_are_averaged_as_probabilities():
    right = [[2.0, 0.0, 1.0], [5.0, 1.0, 0.0]]
    one, other = (oracle(STUDENT, [*right, wrong], 0) for wrong in ([0.0, 9.0, 1.0], [-3.0, 0.0, 8.0]))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    wanted = (torch.tensor(right) / 4).softmax(-1).mean(0)
    divergence = 16 * (wanted * (wanted.log() - (STUDENT[0] / 4).log_softmax(-1))).sum()
    heard = oracle(STUDENT, [*right, [0.0, 9.0, 1.0]], 0, share=1.0)
    torch.testing.assert_close(heard, divergence[None])


def test_no_gradient_reaches_an_oracle():
    student, teachers = torch.randn(6, 5, requires_grad=True), torch.randn(3, 6, 5, requires_grad=True)
    oracle_rows(student, teachers, teachers[0].argmax(-1), share=0.5).sum().backward()
    assert student.grad.any()
    assert teachers.grad is None


def test_rows_are_summed_over_classes_at_temperature_one_unless_told():
    torch.testing.assert_close(kl_rows(STUDENT, TEACHER), torch.tensor([1.150421]))


def test_an_oracle_is_heard_at_temperature_four_unless_told():
    loss = oracle_rows(STUDENT, TEACHER[None], torch.tensor([0]), share=1.0)
    torch.testing.assert_close(loss, torch.tensor([1.319630]))


def test_each_sample_without_an_oracle_keeps_its_own_cross_entropy():
    student, labels = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]), torch.tensor([0, 0])
    loss = oracle_rows(student, torch.zeros(1, 2, 2), labels, share=0.0)
    torch.testing.assert_close(loss, torch.tensor([math.log(4 / 3), math.log(2)]))


def test_a_virtual_teacher_has_temperature_twenty_unless_told():
    likely = 1 / (1 + math.exp(-0.98 / 20))
    torch.testing.assert_close(virtual_teacher(torch.tensor([0]), 2), torch.tensor([[likely, 1 - likely]]))


def test_the_oracle_is_the_only_teacher_that_is_right_wherever_it_stands():
    wrong, right = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    student, labels = torch.zeros(1, 2), torch.tensor([0])
    alone = oracle_rows(student, right[None], labels, share=1.0, temperature=1.0)
    torch.testing.assert_close(
        oracle_rows(student, torch.stack([wrong, right]), labels, share=1.0, temperature=1.0), alone
    )


def test_near_classes_by_hand():
    """Rows at 0, 1 and 3. Of 0 the two nearest are itself and 1, at exp(-ln 2) = 1/2: 2/3 and 1/3. Of 3, 1/5 of 1."""
    rows = torch.tensor([[0.0], [1.0], [3.0]], requires_grad=True)
    near = alike_classes(torch.tensor([0, 2]), rows, closest=2, scale=math.log(2))
    torch.testing.assert_close(near, torch.tensor([[2 / 3, 1 / 3, 0.0], [0.0, 0.2, 0.8]]))
    assert not near.requires_grad
    likely = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(
        alike_classes(torch.tensor([0]), rows, closest=2), torch.tensor([[likely, 1 - likely, 0]])
    )


def test_a_label_stays_the_likeliest_where_it_keeps_more_than_half():
    torch.manual_seed(0)
    labels, rows = torch.arange(4), torch.randn(4, 6)
    for closest in (1, 3, 9):
        near = alike_classes(labels, rows, closest=closest)
        torch.testing.assert_close(near.sum(1), torch.ones(4))
        assert ((near > 0).sum(1) == min(closest, 4)).all()
        target = 0.51 * F.one_hot(labels) + 0.49 * near
        assert torch.equal(target.argmax(1), labels)
    near = alike_classes(labels, rows[:1].expand(4, 6), closest=4)  # embedded alike: each gets the same
    torch.testing.assert_close(near, torch.full((4, 4), 0.25))
