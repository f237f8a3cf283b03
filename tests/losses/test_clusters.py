import math

import torch

from tutelage.losses.clusters import cluster_difference, cluster_means


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
