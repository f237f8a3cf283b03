import math

import pytest
import torch
from tolerance import close

from tutelage.losses.maps import (
    absolute_rows,
    attention,
    attention_rows,
    boundary_rows,
    factor_rows,
    flow,
    squared_rows,
)


def maps(*values):
    """One image, one position for each value, one channel."""
    return torch.tensor(values).view(1, 1, 1, -1)


def test_squares_are_summed_or_averaged_over_elements_only():
    student, teacher = torch.zeros(2, 1, 1, 2), torch.tensor([[1.0, 2.0], [0.0, 3.0]]).view(2, 1, 1, 2)
    close(squared_rows(student, teacher), [5.0, 9.0])
    close(squared_rows(student, teacher, elements="mean"), [2.5, 4.5])
    close(absolute_rows(student, teacher), [1.5, 1.5])


def test_squares_of_logits_by_hand_and_a_shift_counts():
    student, teacher = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    close(squared_rows(student, teacher, elements="mean"), [8 / 3])  # (4 + 0 + 4) / 3
    close(squared_rows(student, teacher), [8.0])
    centred = torch.randn(4, 5)
    centred = centred - centred.mean(1, keepdim=True)
    apart = squared_rows(centred, torch.zeros(4, 5), elements="mean")
    shifted = squared_rows(centred + 3, torch.zeros(4, 5), elements="mean")
    close(shifted, apart + 9)  # by c^2; soft labels do not see it
    teacher = torch.randn(4, 5, requires_grad=True)
    assert not squared_rows(centred, teacher).requires_grad


@pytest.mark.parametrize("loss", [squared_rows, absolute_rows, factor_rows, attention_rows])
def test_equal_maps_cost_nothing_and_the_teacher_learns_nothing(loss):
    student = torch.randn(3, 4, 2, 2, requires_grad=True)
    close(loss(student, student.detach()), [0.0] * 3)
    teacher = torch.randn(3, 4, 2, 2, requires_grad=True)
    loss(student, teacher).sum().backward()
    assert student.grad.any()
    assert teacher.grad is None


def test_flow_of_ones_and_twos():
    close(flow(torch.ones(1, 2, 2, 2), 2 * torch.ones(1, 3, 2, 2)), 2 * torch.ones(1, 2, 3))


def test_flow_knows_which_channel_goes_where():
    first = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels, two positions
    second = torch.tensor([[[[5.0, 6.0]]]])
    close(flow(first, second), [[[(1 * 5 + 2 * 6) / 2], [(3 * 5 + 4 * 6) / 2]]])


def test_flow_does_not_see_where_and_grows_with_both_maps():
    first, second, order = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4), torch.randperm(16)
    moved = [x.flatten(2)[..., order].view_as(x) for x in (first, second)]
    close(flow(*moved), flow(first, second))
    close(flow(3 * first, -2 * second), -6 * flow(first, second))


def test_flow_keeps_its_digits_in_mixed_precision():
    first, second = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = flow(first, second)
    torch.testing.assert_close(mixed, flow(first, second), rtol=0, atol=0)


def test_attention_of_orthogonal_maps():
    close(attention_rows(maps(1.0, 0.0), maps(0.0, 1.0)), [1.0])
    close(attention_rows(maps(1.0, 0.0), maps(0.0, 1.0), form="paper"), [math.sqrt(2)])


@pytest.mark.parametrize(("power", "strong"), [(1, 5.0), (2, 13.0), (3, 35.0)])
def test_attention_adds_powers_over_channels(power, strong):
    """Channels 2 and -3 at one position and 1 at the other: 2^p + 3^p against 1."""
    two = torch.tensor([[[[2.0, 1.0]], [[-3.0, 0.0]]]])
    length = math.hypot(strong, 1.0)
    close(attention(two, power=power), [[strong / length, 1 / length]])


@pytest.mark.parametrize("form", ["code", "paper"])
def test_attention_does_not_see_size_order_or_sign_of_channels(form):
    student, teacher = torch.randn(3, 4, 2, 2), torch.randn(3, 6, 2, 2)
    loss = attention_rows(student, teacher, form=form)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 4, 1, 1)
    close(attention_rows(-7 * signs * student[:, torch.randperm(4)], 0.1 * teacher, form=form), loss)


def test_a_dead_map_has_a_finite_gradient():
    student = torch.zeros(1, 2, 2, 2, requires_grad=True)
    for form in ("code", "paper"):
        attention_rows(student, torch.ones(1, 3, 2, 2), form=form).sum().backward()
    factor_rows(student, torch.ones(1, 2, 2, 2)).sum().backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "loss"),
    [(0.5, 1.0, 0.25), (0.5, -1.0, 2.25), (2.0, 1.0, 0.0), (-2.0, -1.0, 0.0), (0.0, 1.0, 1.0), (0.5, 0.0, 2.25)],
)
def test_boundary(student, teacher, loss):
    close(boundary_rows(maps(student), maps(teacher)), [loss])


def test_boundary_sums_elements_sees_signs_only_and_scales_with_its_margin():
    student, teacher = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    loss = boundary_rows(student, teacher)
    close(boundary_rows(student, teacher.sign() * torch.rand(3, 4, 2, 2)), loss)
    close(boundary_rows(2 * student, teacher, margin=2.0), 4 * loss)
    first_channel = boundary_rows(student[:, :1], teacher[:, :1])
    close(boundary_rows(student[:, 1:], teacher[:, 1:]) + first_channel, loss)


def test_factors_are_flattened_before_they_are_scaled():
    """[3, 0, 0, 4] and [0, 0, 0, 1], scaled: .6 apart, 0, 0, .2 apart; a mean over four."""
    student, teacher = (
        torch.tensor([3.0, 0.0, 0.0, 4.0]).view(1, 2, 1, 2),
        torch.tensor([0.0, 0, 0, 1]).view(1, 2, 1, 2),
    )
    close(factor_rows(student, teacher), [0.8 / 4])


def test_factors_are_compared_by_direction_and_never_far_apart():
    student, teacher = torch.randn(5, 4, 2, 2), torch.randn(5, 4, 2, 2)
    loss = factor_rows(student, teacher)
    close(factor_rows(9 * student, 0.1 * teacher), loss)
    assert (loss <= 2 / math.sqrt(16)).all()
    close(factor_rows(torch.ones(1, 1, 2, 2), -torch.ones(1, 1, 2, 2)), [2 / math.sqrt(4)])


def test_attention_is_of_squares_unless_told():
    close(attention(maps(1.0, 2.0)), [[1 / math.sqrt(17), 4 / math.sqrt(17)]])
    close(attention_rows(maps(4.0, 3.0), maps(3.0, 4.0)), [49 / 337])  # (16, 9) and (9, 16), over the root of 337


def test_attentions_of_both_maps_take_the_power():
    close(attention_rows(maps(4.0, 3.0), maps(3.0, 4.0), power=1), [0.04])  # (0.8, 0.6) and (0.6, 0.8)
