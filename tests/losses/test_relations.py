import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.relations import (
    correlation_congruence,
    distances,
    gaussian_kernel,
    gram,
    neighbour_products,
    relational_angle,
    relational_distance,
    similarity_preserving,
)


def bilinear(student, teacher, *, trust=None):
    return correlation_congruence(student, teacher, order=None, trust=trust)


GEOMETRY = [relational_distance, relational_angle]
ALL = [*GEOMETRY, similarity_preserving, correlation_congruence, bilinear, neighbour_products]
every_loss = pytest.mark.parametrize("loss", ALL)
CORNER = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
LINE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])


def rotation(width):
    return torch.linalg.qr(torch.randn(width, width)).Q


def close(loss, value, atol=1e-6):
    torch.testing.assert_close(loss, torch.tensor(value), atol=atol, rtol=0)


def test_similarity_of_strangers_against_that_of_twins():
    # Rows (1, 0) against (1, 1) / sqrt 2, and the same mirrored: 2 (2 - sqrt 2) / 4
    close(similarity_preserving(torch.eye(2), torch.ones(2, 2)), 0.292893)


def test_similarity_does_not_see_direction_or_size_and_maps_may_have_any_shape():
    student, maps = torch.randn(5, 6), torch.randn(5, 3, 2, 2)
    teacher = maps.flatten(1)
    loss = similarity_preserving(student, maps)
    torch.testing.assert_close(similarity_preserving(3 * student @ rotation(6), 0.5 * teacher @ rotation(12)), loss)
    close(similarity_preserving(2 * teacher @ rotation(12), teacher), 0.0)


def test_similarity_matches_its_formula():
    student, teacher = torch.randn(5, 6), torch.randn(5, 4)
    ours, theirs = (x @ x.T / (x @ x.T).norm(dim=1, keepdim=True) for x in (student, teacher))
    torch.testing.assert_close(similarity_preserving(student, teacher), (ours - theirs).norm() ** 2 / 25)


def test_similarity_does_not_see_how_maps_lie_in_memory():
    maps, teacher = torch.randn(4, 3, 2, 5, requires_grad=True), torch.randn(4, 6)
    lying = maps.detach().to(memory_format=torch.channels_last).requires_grad_()
    for each in (maps, lying):
        similarity_preserving(each, teacher).backward()
    torch.testing.assert_close(lying.grad, maps.grad)


def test_gradient_of_inner_products_is_that_of_two_matrices():
    x, upstream = torch.randn(5, 3, dtype=torch.float32, requires_grad=True), torch.randn(5, 5)
    (wanted,) = torch.autograd.grad((x @ x.T * upstream).sum(), x)
    torch.testing.assert_close(torch.autograd.grad((gram(x) * upstream).sum(), x)[0], wanted)
    (curved,) = torch.autograd.grad((x @ x.T).square().sum(), x, create_graph=True)  # for gradients of gradients
    (ours,) = torch.autograd.grad(gram(x).square().sum(), x, create_graph=True)
    torch.testing.assert_close(
        torch.autograd.grad(ours.square().sum(), x)[0], torch.autograd.grad(curved.square().sum(), x)[0]
    )


def test_geometry_of_a_corner_taught_to_a_line():
    close(relational_distance(LINE, CORNER), 0.0716991)
    close(relational_angle(LINE, CORNER), 0.1296296)


def test_distances_by_hand():
    student = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 3, 2; over their mean: .5, 1.5, 1
    teacher = torch.tensor([[0.0], [1.0], [2.0]])  # distances 1, 2, 1; over their mean: .75, 1.5, .75
    close(relational_distance(student, teacher), 2 * (0.5 * 0.25**2 + 0 + 0.5 * 0.25**2) / 9)  # 9: with the diagonal
    # The last counts half: so do its distances in the means, 3.5 / 2 and 2.5 / 2, and the diagonal holds 2.25 of 6.25.
    apart = [(x / 1.75 - y / 1.25) ** 2 for x, y in ((1, 1), (3, 2), (2, 1))]
    half = relational_distance(student, teacher, trust=torch.tensor([1.0, 1.0, 0.5]))
    close(half, (apart[0] + 0.5 * apart[1] + 0.5 * apart[2]) / 6.25)


@pytest.mark.parametrize("loss", GEOMETRY)
def test_geometry_is_shape_only_not_place_size_or_direction(loss):
    points = torch.randn(7, 5)
    close(loss(3.0 * points @ rotation(5) + 10.0, points), 0.0, atol=1e-5)


@pytest.mark.parametrize("loss", [*GEOMETRY, similarity_preserving, correlation_congruence, bilinear])
def test_widths_may_differ(loss):
    assert loss(torch.randn(7, 5), torch.randn(7, 9)) > 0


@pytest.mark.parametrize("loss", GEOMETRY)
def test_twins_that_the_teacher_tells_apart_do_not_blow_up(loss):
    student = torch.randn(4, 3)
    student[1] = student[0]
    student.requires_grad_()
    loss(student, torch.randn(4, 3)).backward()
    assert student.grad.abs().max() < 10


@pytest.mark.parametrize("loss", GEOMETRY)
def test_a_collapsed_student_still_has_a_loss_and_a_gradient(loss):
    collapsed = torch.ones(4, 3, requires_grad=True)
    value = loss(collapsed, torch.randn(4, 3))
    value.backward()
    assert value > 0
    assert collapsed.grad.isfinite().all()


def test_a_twin_of_the_teacher_counts_as_nearly_zero_in_the_mean():
    teacher = torch.tensor([[0.0], [0.0], [3.0]])  # distances ~0, 3, 3: mean 2, so scaled ~0, 1.5, 1.5
    student = torch.tensor([[0.0], [1.0], [2.0]])  # .75, 1.5, .75
    close(relational_distance(student, teacher), 2 * 0.5 * (0.75**2 + 0 + 0.75**2) / 9)


@pytest.mark.parametrize(("order", "value"), [(2, 0.665007), (5, 0.670317), (20, 0.670320)])
def test_gaussian_kernel_by_taylor(order, value):
    close(gaussian_kernel(torch.tensor(0.5), 0.4, order), value)
    assert math.isclose(math.exp(-0.4), 0.670320, abs_tol=1e-6)  # ||x - y||^2 = 2 - 2 x y = 1


def test_congruence_by_hand():
    teacher, student = torch.tensor([[2.0, 0.0], [0.0, 5.0]]), torch.tensor([[1.0, 0.0], [1.0, math.sqrt(3)]])
    close(bilinear(student, teacher), 2 * 0.5**2 / 4)  # cosines 0 and 1/2 off the diagonal; the diagonal is 1 in both
    between = 0.665007 - math.exp(-0.8)  # at 0 only the first term is left
    close(correlation_congruence(student, teacher, gamma=0.4, order=2), 2 * between**2 / 4)


def test_neighbours_by_hand():
    student = torch.tensor([[1.0, 0.0], [3.0, -2.0], [0.0, 1.0]])  # teacher 0: |1 * 3| + 0 and 0 + |-2 * 1|
    close(neighbour_products(student, torch.zeros(3, 2)), (3 + 2) / 2)
    trust = torch.tensor([0.0, 1.0, 0.5])  # the first pair counts 0, the second 1 / 2
    close(neighbour_products(student, torch.zeros(3, 2), trust=trust), 2.0)


@every_loss
def test_agreement_costs_nothing(loss):
    x = torch.randn(6, 4)
    close(loss(x, x), 0.0)


@every_loss
def test_untrusted_images_might_as_well_not_be_there(loss):
    student, teacher = torch.randn(7, 4, requires_grad=True), torch.randn(7, 4)
    part = loss(student, teacher, trust=torch.tensor([1.0, 1, 1, 1, 0, 0, 0]))
    torch.testing.assert_close(part, loss(student[:4], teacher[:4]))
    assert not torch.isclose(part, loss(student, teacher))
    part.backward()
    assert student.grad[:4].any()
    assert not student.grad[4:].any()


@every_loss
def test_trust_is_relative_and_is_heard_between_none_and_all(loss):
    student, teacher = torch.randn(7, 4), torch.randn(7, 4)
    none, half, full = (loss(student, teacher, trust=torch.tensor([1.0] * 4 + [t] * 3)) for t in (0.0, 0.5, 1.0))
    if loss is not similarity_preserving:  # it falls with the number of images: all of trust 2 are twice as many
        torch.testing.assert_close(loss(student, teacher, trust=torch.tensor([2.0] * 4 + [1.0] * 3)), half)
    torch.testing.assert_close(loss(student, teacher), full)
    assert not torch.isclose(none, half)
    assert not torch.isclose(half, full)


def test_a_pair_counts_the_product_of_its_trusts():
    """An image of trust 2 is two of its kind."""
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    twice = [torch.cat([x, x[3:]]) for x in (student, teacher)]
    for loss in (bilinear, correlation_congruence, similarity_preserving, relational_angle):
        torch.testing.assert_close(loss(student, teacher, trust=torch.tensor([1.0, 1, 1, 2])), loss(*twice))


@every_loss
def test_one_image_has_no_relations_but_a_graph(loss):
    student = torch.randn(1, 4, requires_grad=True)
    value = loss(student, torch.randn(1, 4))
    value.backward()
    close(value.detach(), 0.0)
    assert student.grad.isfinite().all()


@every_loss
def test_only_the_student_learns(loss):
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss(student, teacher).backward()
    assert student.grad.any()
    assert teacher.grad is None


@every_loss
def test_nothing_is_rounded_under_autocast(loss):
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    wanted = loss(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(student, teacher), wanted, rtol=0, atol=0)


def test_near_points_far_from_zero_keep_their_distance():
    x = torch.randn(40, 3) + 100  # more rows than those from which cdist would take products
    torch.testing.assert_close(distances(x), (x[:, None] - x).norm(dim=-1), atol=1e-4, rtol=0)


def test_huber_is_linear_beyond_one():
    student, teacher = torch.tensor([[0.0], [1.0], [1.0]]), torch.tensor([[0.0], [1.0], [100.0]])
    scaled = [1 / 66.666667, 100 / 66.666667, 99 / 66.666667]  # against 1.5, 1.5, ~0
    apart = F.smooth_l1_loss(torch.tensor([1.5, 1.5, 0.0]), torch.tensor(scaled), reduction="sum")
    close(relational_distance(student, teacher), 2 * apart.item() / 9, atol=1e-5)
    assert abs(scaled[0] - 1.5) > 1


def test_kernel_is_of_gamma_0_4_and_order_2_unless_told():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    close(correlation_congruence(student, teacher), 2 * (math.exp(-0.8) * (0.8 + 0.8**2 / 2)) ** 2 / 4)


def test_twins_count_as_a_millionth_apart_and_an_image_not_from_itself():
    near = torch.tensor([[0.0], [0.0], [3e-6]])  # distances of 1, 3, 3 and so 3/7, 9/7, 9/7; the teacher's 0, 3/2, 3/2
    loss = relational_distance(near, 1e6 * near)
    close(loss, 2 * (0.5 * (3 / 7) ** 2 + 2 * 0.5 * (3 / 2 - 9 / 7) ** 2) / 9)
    close(relational_distance(near[1:], 1e6 * near[1:]), 0.0, atol=1e-12)


def test_edges_above_a_millionth_have_a_direction_and_those_below_have_none():
    close(relational_angle(1e-4 * CORNER, CORNER), 0.0)
    close(relational_angle(1e-8 * CORNER, CORNER), relational_angle(0 * CORNER, CORNER).item())
    assert relational_angle(0 * CORNER, CORNER) > 0.1
