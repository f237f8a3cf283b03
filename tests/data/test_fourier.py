import torch

from tutelage.data.fourier import in_style


def test_an_image_in_its_own_style_is_itself():
    images = torch.rand(3, 3, 9, 8)
    torch.testing.assert_close(in_style(images, images, beta=0.3), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(in_style(images, torch.rand(2, 3, 9, 8), beta=0.3, share=0.0), images, atol=1e-6, rtol=0)
    assert in_style(images, images[:0], beta=0.3) is images
    assert len(in_style(images[:0], images, beta=0.3)) == 0


def test_without_reach_only_the_mean_of_each_channel_moves():
    images, style = 0.4 + 0.1 * torch.rand(2, 3, 8, 8), 0.5 + 0.1 * torch.rand(1, 3, 8, 8)
    moved = in_style(images, style, beta=0.0)
    torch.testing.assert_close(moved.mean((2, 3)), style.mean((2, 3)).expand(2, 3))
    shift = moved - images
    torch.testing.assert_close(shift, shift.mean((2, 3), keepdim=True).expand_as(shift), atol=1e-6, rtol=0)
    half = in_style(images, style, beta=0.0, share=0.5)
    torch.testing.assert_close(half.mean((2, 3)), (images.mean((2, 3)) + style.mean((2, 3))) / 2)


def test_a_wave_by_hand():
    """Half the amplitude at one cycle a side moves over; the place of the crest stays, and so do finer waves."""
    x = torch.arange(8.0) * torch.pi / 4

    def wave(amplitude, phase, fine=0.0):
        row = 0.5 + amplitude * torch.cos(x + phase) + fine * torch.cos(2 * x)
        return row.expand(1, 3, 8, 8)

    moved = in_style(wave(0.1, 0.0, 0.05), wave(0.2, 1.0), beta=0.125)
    torch.testing.assert_close(moved, wave(0.2, 0.0, 0.05), atol=1e-5, rtol=0)


def test_style_is_the_next_in_turn_and_pixels_stay_in_range():
    images, style = torch.rand(3, 3, 8, 8), torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    moved = in_style(images, style, beta=0.0)
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert moved[1].mean() > 0.8 > 0.3 > moved[2].mean()
