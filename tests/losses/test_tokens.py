import math

import pytest
import torch

from tutelage.losses.tokens import (
    attention_kl_rows,
    cosine_apart,
    patient_rows,
    value_relations,
    words_cross_entropy,
    words_kl,
)


def close(one, other):
    torch.testing.assert_close(one, torch.as_tensor(other, dtype=one.dtype), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [1, 4, 10])
def test_opposite_tokens_are_four_over_their_width_apart(width):
    token = torch.randn(1, 2, width)
    close(patient_rows(token, -token), [4 / width] * 2)
    close(patient_rows(torch.cat([token, token]), torch.cat([token, -token])), [2 / width] * 2)  # the mean of layers


def test_patience_does_not_see_lengths_and_teaches_the_student_only():
    student, teacher = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    close(patient_rows(7 * student, 0.1 * teacher), patient_rows(student, teacher))
    patient_rows(student, teacher).sum().backward()
    assert student.grad.any()
    assert teacher.grad is None


def test_cosines_by_hand():
    student = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0], [0.0, 3.0]], requires_grad=True)
    teacher = torch.tensor([[5.0, 0.0]] * 4, requires_grad=True)
    apart = cosine_apart(student, teacher)
    close(apart, [0.0, 1 - math.sqrt(0.5), 2.0, 1.0])
    apart.sum().backward()
    assert teacher.grad is None
    close(cosine_apart(student.view(2, 2, 2), teacher.view(2, 2, 2)), apart.view(2, 2))


def test_attention_by_hand():
    """Two keys: one query looks at both alike, where the teacher's looks at the first in 3 of 4; the other agrees."""
    teacher = torch.tensor([[math.log(3), 0.0], [2.0, 1.0]]).expand(1, 1, 2, 2)
    student = torch.tensor([[0.0, 0.0], [5.0, 4.0]]).expand(1, 1, 2, 2).clone().requires_grad_()
    close(attention_kl_rows(student, teacher), [0.130812 / 2])
    two_heads = attention_kl_rows(torch.cat([student, teacher], 1), torch.cat([teacher, teacher], 1))
    close(two_heads, [0.130812 / 4])
    close(attention_kl_rows(teacher + 3, teacher), [0.0])  # a shift of all keys is no other attention
    assert attention_kl_rows(student[:0], teacher[:0]).shape == (0,)
    attention_kl_rows(student, teacher).sum().backward()
    assert student.grad.any()


def test_relations_of_values_by_hand():
    values = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 2.0]]).expand(1, 1, 2, 4)
    close(value_relations(values)[0, 0], [[1.0, 1.0], [1.0, 4.0]])
    wide = torch.randn(2, 3, 5, 8)
    assert value_relations(wide).shape == (2, 3, 5, 5)
    turned = wide @ torch.linalg.qr(torch.randn(8, 8)).Q
    close(value_relations(turned), value_relations(wide))  # no direction of the values is meant


def test_words_by_hand():
    student, teacher = torch.zeros(1, 3, 2), torch.tensor([[[math.log(3), 0.0], [9.0, 0.0], [0.0, math.log(3)]]])
    first, ends = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.5]])
    close(words_kl(student, teacher, first, temperature=1.0), 0.130812)
    close(words_kl(student, teacher, ends, temperature=1.0), 0.130812)  # a word of weight 0 changes nothing
    close(words_kl(student, 2 * teacher, first, temperature=2.0), 4 * 0.130812)
    said = torch.tensor([[[math.log(3), 0.0], [9.0, 0.0], [0.0, 0.0]]])
    words = torch.tensor([[0, 1, 0]])
    expected = (math.log(4 / 3) + 0.5 * math.log(2)) / 1.5
    close(words_cross_entropy(said, words, ends), expected)
    assert words_cross_entropy(said, words, 0 * ends) == words_kl(student, teacher, 0 * ends, temperature=1.0) == 0


def test_words_teach_the_student_only():
    student, teacher = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    words_kl(student, teacher, torch.ones(2, 3), temperature=2.0).backward()
    assert student.grad.any()
    assert teacher.grad is None
