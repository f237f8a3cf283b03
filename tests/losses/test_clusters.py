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


def test_means_by_hand():
    points, labels = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 8.0]]), torch.tensor([0, 0, 1])
    before = torch.tensor([[1.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    after = cluster_means(points, labels, before, decay=0.75)
    torch.testing.assert_close(after, torch.tensor([[1.25, 0.0], [0.0, 8.0], [5.0, 5.0]]))
    torch.testing.assert_close(cluster_means(points[:0], labels[:0], before, decay=0.75), before)
