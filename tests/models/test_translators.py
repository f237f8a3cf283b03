import torch
from torch import nn

from tutelage.models.translators import History, Translator


def test_images_of_any_size_stay_in_range_and_begin_near_themselves():
    translator = Translator(width=4, blocks=1)
    for size in (28, 32, 9):
        made = translator(torch.rand(2, 3, size, size))
        assert made.shape == (2, 3, size, size)
        assert made.min() >= 0
        assert made.max() <= 1
    nn.init.zeros_(translator.last.weight)
    nn.init.zeros_(translator.last.bias)
    images = torch.rand(2, 3, 28, 28)
    torch.testing.assert_close(translator(images), images.clamp(0.05, 0.95))


def test_black_and_white_pixels_have_a_slope():
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    translator = Translator(width=4, blocks=1)
    translator(images).sum().backward()
    assert all(p.grad.isfinite().all() for p in translator.parameters())
    assert translator.last.bias.grad.abs().min() > 1


def test_what_was_made_comes_back_later():
    history = History(4, (3, 2, 2))
    first = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    assert torch.equal(history(first), first)
    assert history.held == 4
    torch.manual_seed(0)
    second = history(first + 10)
    old = second[:, 0, 0, 0] < 10
    assert old.any()
    assert not old.all()
    kept = history.images[:, 0, 0, 0]
    assert (kept >= 10).sum() >= 1
    assert sorted([*kept.tolist(), *second[:, 0, 0, 0].tolist()]) == [0, 1, 2, 3, 10, 11, 12, 13]


def test_without_room_it_gives_back_what_it_is_given():
    made = torch.rand(3, 3, 2, 2)
    assert torch.equal(History(0, (3, 2, 2))(made), made)
