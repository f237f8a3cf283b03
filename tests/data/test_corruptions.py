import math

import pytest
import torch

from tutelage.data.corruptions import corrupted

ALL = ("night", "fog", "noise", "background")


@pytest.mark.parametrize("how", ALL)
def test_pixels_stay_in_range_and_without_strength_as_they_are(how):
    images = torch.rand(4, 3, 9, 8)
    made = corrupted(images, how, strength=1.0)
    assert made.shape == images.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert not torch.equal(made, images)
    torch.testing.assert_close(corrupted(images, how, strength=0.0), images)
    assert len(corrupted(images[:0], how, strength=1.0)) == 0


def test_values_by_hand():
    half = torch.full((1, 3, 2, 2), 0.5)
    torch.testing.assert_close(corrupted(half, "night", strength=1.0)[0, :, 0, 0], torch.tensor([0.2, 0.25, 0.3]))
    share = math.exp(-2.0)
    torch.testing.assert_close(
        corrupted(half, "fog", strength=2.0), torch.full((1, 3, 2, 2), 0.5 * share + 0.85 * (1 - share))
    )
    noisy = corrupted(torch.full((1, 3, 100, 100), 0.5), "noise", strength=0.5)
    assert noisy.std() == pytest.approx(0.1, abs=0.005)
    torch.manual_seed(0)
    on_black = corrupted(torch.zeros(1, 3, 8, 8), "background", strength=1.0)
    torch.manual_seed(0)
    torch.testing.assert_close(corrupted(torch.ones(1, 3, 8, 8), "background", strength=1.0), 1 - on_black)
