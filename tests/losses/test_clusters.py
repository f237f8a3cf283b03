import math

import pytest
import torch

from tutelage.losses.clusters import cluster_difference, cluster_means, subclass_rows


def test_difference_by_hand():
    """At 0, 90 and 45 degrees from the first of two clusters, and 30: cos 30 less cos 60."""
    clusters = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    angles = torch.tensor([0.0, 90.0, 45.0, 30.0]).deg2rad()
    points = 3 * torch.stack([angles.cos(), angles.sin()], dim=1)
    expected = torch.tensor([1.0, 1.0, 0.0, math.sqrt(3) / 2 - 0.5])
    torch.testing.assert_close(cluster_difference(points, clusters), expected, atol=1e-6, rtol=0)


def test_length_of_a_cluster_does_not_matter():
    clusters = torch.tensor([[1.0, 1.0], [0.0, 5.0]])
    expected = torch.tensor([math.sqrt(0.5)])  # cos 45 less cos 90
    torch.testing.assert_close(cluster_difference(torch.tensor([[2.0, 0.0]]), clusters), expected)


def test_means_by_hand():
    points, labels = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 8.0]]), torch.tensor([0, 0, 1])
    before = torch.tensor([[1.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    after = cluster_means(points, labels, before, decay=0.75)
    torch.testing.assert_close(after, torch.tensor([[1.25, 0.0], [0.0, 8.0], [5.0, 5.0]]))
    torch.testing.assert_close(cluster_means(points[:0], labels[:0], before, decay=0.75), before)


def test_a_class_that_is_not_there_leaves_slopes_finite():
    points = torch.rand(2, 2, requires_grad=True)
    cluster_means(points, torch.tensor([0, 0]), torch.ones(3, 2), decay=0.75).sum().backward()
    torch.testing.assert_close(points.grad, torch.full((2, 2), 0.125))  # a quarter, of a mean of two


LINE, ALONE = torch.tensor([[0.0], [1.0], [4.0]]), torch.zeros(3, dtype=torch.long)


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(math.inf, [9.0, 16.0, 1.0]), (16.0, [1.0, 16.0, 9.0]), (10.0, [1.0, 16.0, 9.0]), (9.0, [1.0, 1.0, 9.0])],
)
def test_subclasses_by_hand(margin, expected):
    """0, 1 and 4 with one neighbour each. 0 is drawn by 1 to 1 and pushed back by 4: 3^2; 1 by 1 and 3: 4^2; 4 by 3 to
    1 and pushed by 4 from 0: 1^2. At margins of 10 and 16 the squares of 4, for 0 and for 4, are enough: 1^2 and
    3^2. At 9 so is that of 3, for 1."""
    rows = subclass_rows(LINE, ALONE, neighbours=1, margin=margin)
    torch.testing.assert_close(rows, torch.tensor(expected))


def test_what_is_far_enough_is_so_on_average():
    """0, 1, 2 and 3: of the squares 4 and 9 the sum is above a margin of 10, and the mean is not. 0 is drawn by 1 to 1
    and pushed by 2.5 from 2 and 3: 1.5^2. Of two as near the first counts: 1 and 2 are drawn to the left."""
    rows = subclass_rows(torch.arange(4.0)[:, None], torch.zeros(4, dtype=torch.long), neighbours=1, margin=10.0)
    torch.testing.assert_close(rows, torch.tensor([2.25, 6.25, 0.25, 2.25]))


def test_the_slope_is_that_of_near_less_others():
    torch.manual_seed(0)
    h, labels = torch.randn(7, 3, requires_grad=True), torch.zeros(7, dtype=torch.long)
    subclass_rows(h, labels, neighbours=2, margin=math.inf).sum().backward()
    still, apart = h.detach(), torch.cdist(h.detach(), h.detach())
    for place in range(7):
        own = still[place].clone().requires_grad_()
        order = apart[place].argsort()[1:]
        squares = (own - still[order]).square().sum(1)
        (squares[:2].mean() - squares[2:].mean()).backward()
        torch.testing.assert_close(h.grad[place], own.grad)


def test_only_images_of_the_same_class_count():
    torch.manual_seed(0)
    h, labels = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 0, 2])
    rows = subclass_rows(h, labels, neighbours=1, margin=math.inf)
    moved = subclass_rows(h + 5 * (labels == 1)[:, None], labels, neighbours=1, margin=math.inf)
    torch.testing.assert_close(moved[labels != 1], rows[labels != 1])
    assert rows[5] == 0  # alone
    assert (subclass_rows(h, torch.arange(6), neighbours=3, margin=math.inf) == 0).all()
    assert (subclass_rows(torch.ones(4, 2), torch.zeros(4, dtype=torch.long), neighbours=1, margin=1.0) == 0).all()
