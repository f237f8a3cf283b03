import math

import torch

from tutelage.losses.heatmaps import gaussian_maps, map_mse, peaks, spatial_kl

SEEN = torch.ones(2, 3, dtype=torch.bool)


def test_a_gaussian_by_hand():
    """The point is in the middle of the cell x = 1, y = 0 of 4 x 2 cells."""
    found = gaussian_maps(torch.tensor([[[0.375, 0.25]]]), size=(2, 4), sigma=2.0)[0, 0]
    near = [[math.exp(-(dx * dx + dy * dy) / 8) for dx in (-1, 0, 1, 2)] for dy in (0, 1)]
    torch.testing.assert_close(found, torch.tensor(near))


def test_the_peak_of_a_gaussian_is_its_point():
    points = torch.tensor([[[0.125, 0.75], [0.625, 0.25], [0.875, 0.75]]])
    assert torch.equal(peaks(gaussian_maps(points, size=(2, 4), sigma=1.0)), points)


def test_squares_by_hand():
    said, wanted = torch.full((1, 2, 1, 2), 4.0), torch.tensor([[[[5.0, 1.0]], [[7.0, 7.0]]]])
    torch.testing.assert_close(map_mse(said, wanted, torch.tensor([[True, False]])), torch.tensor((1 + 9) / 4))
    assert map_mse(said, wanted, torch.tensor([[False, False]])) == 0


def test_divergence_by_hand():
    """Of two cells one is told 3 : 1, and said evenly; it is summed over points and divided by images and cells."""
    told = torch.tensor([[[[math.log(3.0), 0.0]]]])
    wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = spatial_kl(torch.zeros(1, 1, 1, 2), told, torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor(wanted / 2))
    upright = spatial_kl(torch.zeros(1, 1, 2, 1), told.mT, torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(upright, torch.tensor(wanted / 2))
    several = spatial_kl(torch.zeros(2, 3, 1, 2), told.expand(2, 3, 1, 2), SEEN)
    torch.testing.assert_close(several, torch.tensor(3 * wanted / 2))


def test_equal_maps_agree_and_a_constant_changes_nothing():
    said, told = torch.randn(2, 2, 3, 4, 5).unbind(0)
    torch.testing.assert_close(spatial_kl(said, said, SEEN), torch.tensor(0.0), atol=1e-7, rtol=0)
    lifted = spatial_kl(said + torch.randn(2, 3, 1, 1), told + torch.randn(2, 3, 1, 1), SEEN)
    torch.testing.assert_close(lifted, spatial_kl(said, told, SEEN))


def test_points_that_are_not_visible_count_nothing():
    said, told = torch.randn(2, 2, 3, 4, 5).unbind(0)
    assert spatial_kl(said, told, ~SEEN) == 0
    one = SEEN & (torch.arange(3) == 1)
    torch.testing.assert_close(
        spatial_kl(said, told, one), spatial_kl(said[:, 1:2], told[:, 1:2], torch.ones(2, 1, dtype=torch.bool))
    )


def test_what_is_told_learns_too():
    said, told = (torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(2))
    spatial_kl(said, told, SEEN).backward()
    assert said.grad.any()
    assert told.grad.any()
