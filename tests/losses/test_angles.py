import math

import pytest
import torch

from tutelage.losses.angles import angular_rows, arcface_logits


def close(one, other):
    torch.testing.assert_close(one, torch.as_tensor(other, dtype=one.dtype), atol=1e-5, rtol=1e-5)


def at(*degrees):
    """Unit vectors of the plane."""
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_angle_by_hand():
    close(angular_rows(at(0.0, 60.0, 90.0, 180.0), at(0.0, 0.0, 0.0, 0.0)), [0.0, 0.25, 1.0, 4.0])


def test_angle_does_not_see_lengths_and_teaches_the_student_only():
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = angular_rows(student, teacher)
    close(angular_rows(9 * student, 0.1 * teacher), loss)
    loss.sum().backward()
    assert student.grad.any()
    assert teacher.grad is None


def test_a_dead_embedding_has_finite_gradients():
    student = torch.zeros(2, 4, requires_grad=True)
    (
        angular_rows(student, torch.ones(2, 4)).sum()
        + arcface_logits(student, torch.ones(3, 4), torch.tensor([0, 1])).sum()
    ).backward()
    assert student.grad.isfinite().all()


def test_margin_widens_the_angle_to_the_label_only():
    """30 degrees to the label's centre become 30 degrees + .5 radians; 60 to the other stay."""
    logits = arcface_logits(5 * at(30.0), 7 * at(0.0, 90.0), torch.tensor([0]), scale=10.0, margin=0.5)
    close(logits, [[10 * math.cos(math.radians(30) + 0.5), 5.0]])


def test_without_margin_it_is_a_softmax_of_cosines():
    embedding, centres = torch.randn(6, 4), torch.randn(3, 4)
    logits = arcface_logits(embedding, centres, torch.arange(6) % 3, scale=2.0, margin=0.0)
    close(logits, 2 * torch.cosine_similarity(embedding[:, None], centres[None], dim=-1))


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.0])
def test_the_logit_of_the_label_falls_with_the_angle_all_the_way_round(margin):
    angles = torch.linspace(1.0, 179.0, 90)
    own = arcface_logits(at(*angles.tolist()), at(0.0), torch.zeros(90, dtype=torch.long), margin=margin)[:, 0]
    assert (own.diff() < 0).all()


def test_on_the_centre_and_opposite_the_gradient_is_finite():
    embedding = at(0.0, 180.0).requires_grad_()
    arcface_logits(embedding, at(0.0, 90.0), torch.tensor([0, 0])).sum().backward()
    assert embedding.grad.isfinite().all()


def test_cosines_keep_their_digits_in_mixed_precision():
    embedding, centres, labels = torch.randn(6, 64), torch.randn(3, 64), torch.arange(6) % 3
    with torch.autocast("cpu", torch.bfloat16):
        mixed = arcface_logits(embedding, centres, labels)
    close(mixed, arcface_logits(embedding, centres, labels))


def test_margin_and_scale_are_those_of_the_paper():
    close(arcface_logits(at(0.0), at(90.0), torch.tensor([0])), [[-64 * math.sin(0.5)]])


def test_an_angle_that_would_pass_pi_loses_cosine():
    logits = arcface_logits(at(0.0), at(180.0), torch.tensor([0]), scale=1.0, margin=0.5)
    close(logits, [[-1 - 0.5 * math.sin(0.5)]])
