import math

import pytest
import torch

from tutelage.losses.cutmix import Pasted, pasted, two_views


def plain(n: int, height: int = 8, width: int = 6) -> torch.Tensor:
    """Images of one colour each: its place in the batch."""
    return torch.arange(n, dtype=torch.float32).view(-1, 1, 1, 1).expand(n, 3, height, width).contiguous()


def test_without_chance_nothing_is_drawn_or_changed():
    images, before = plain(5), torch.get_rng_state()
    seen = pasted(images, chance=0.0)
    assert seen.images is images
    assert torch.equal(torch.get_rng_state(), before)
    assert (seen.own == 1).all()


def test_a_rectangle_of_the_partner_is_pasted_and_the_rest_stays():
    torch.manual_seed(0)
    seen = pasted(plain(64), chance=1.0)
    for place, (image, partner, own) in enumerate(zip(*seen, strict=True)):
        other = (image == partner) & (partner != place)
        assert ((image == place) | other).all()
        assert partner == place or math.isclose(1 - own, other.float().mean(), abs_tol=1e-6)
        rows, columns = other[0].any(1), other[0].any(0)
        assert torch.equal(other[0], rows[:, None] & columns)  # a rectangle, the same in all channels
        assert (other == other[0]).all()


def test_areas_are_those_of_the_paper():
    """A side s, with s * s uniform in 0..1 and its middle uniform, keeps s * (1 - s / 4) of an axis on average.

    So the mean area is 1/2 - 1/5 + 1/48.
    """
    torch.manual_seed(0)
    own = pasted(torch.zeros(8000, 3, 64, 64), chance=1.0).own
    assert math.isclose(1 - own.mean(), 1 / 2 - 1 / 5 + 1 / 48, abs_tol=0.01)
    assert math.isclose((pasted(torch.zeros(2000, 3, 64, 64), chance=0.25).own == 1).float().mean(), 0.75, abs_tol=0.03)


def test_the_loss_is_that_of_both_parts_by_their_shares():
    seen = Pasted(torch.zeros(2, 3, 4, 4), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # 3/4 and 1/4; 1/2 and 1/2
    first = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    loss = seen.loss(logits, torch.eye(2))
    torch.testing.assert_close(loss, torch.tensor((first + math.log(2)) / 2))


def test_two_views_by_hand():
    """Of the first strong view a quarter shows the second image. Smoothed by 0.3, a label has 0.8 and others 0.1."""
    seen = Pasted(torch.zeros(2, 3, 4, 4), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    weak, strong = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]], [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]]).log()
    labels = torch.tensor([0, 2])
    on_weak = -(math.log(0.5) + math.log(0.6)) / 2
    on_strong = -(0.75 * math.log(0.2) + 0.25 * math.log(0.5) + math.log(0.1)) / 2
    sharp = two_views(weak, strong, labels, seen, share=0.25)
    torch.testing.assert_close(sharp, torch.tensor(0.75 * on_weak + 0.25 * on_strong))
    first, second = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.8])
    on_weak = -(first @ weak[0] + second @ weak[1]) / 2
    on_strong = -((0.75 * first + 0.25 * second) @ strong[0] + second @ strong[1]) / 2
    smooth = two_views(weak, strong, labels, seen, share=0.25, smoothing=0.3)
    torch.testing.assert_close(smooth, 0.75 * on_weak + 0.25 * on_strong)


def test_what_teaches_nothing_costs_nothing():
    seen = Pasted(torch.zeros(2, 3, 4, 4), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    loss = seen.loss(torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [0.5, 0.0]]))
    torch.testing.assert_close(loss, torch.tensor((0.25 * 0.5 + 0.5) * math.log(2) / 2))


@pytest.mark.parametrize("n", [0, 1])
def test_few_images_are_no_matter(n):
    seen = pasted(plain(n), chance=1.0)
    assert torch.equal(seen.images, plain(n))
    assert torch.isfinite(seen.loss(torch.zeros(n, 2), torch.ones(n, 2)))
