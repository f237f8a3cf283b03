import pytest
import torch

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.quantised import fake_quantised, quantised


def test_levels_by_hand():
    weight = torch.tensor([-3.0, -1.4, 0.4, 0.6, 2.9])
    torch.testing.assert_close(fake_quantised(weight, 3), torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]))  # -3 .. 3
    torch.testing.assert_close(fake_quantised(weight, 2), torch.tensor([-3.0, 0.0, 0.0, 0.0, 3.0]))  # -3, 0, 3
    assert fake_quantised(weight, 32) is weight


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_rounding_moves_nothing_further_than_half_a_level_and_rounds_once(bits):
    weight = torch.randn(50, 40, dtype=torch.double)
    once = fake_quantised(weight, bits)
    level = weight.abs().max() / (2 ** (bits - 1) - 1)
    assert (once - weight).abs().max() <= level / 2 * (1 + 1e-9)
    assert len(once.unique()) <= 2**bits - 1
    torch.testing.assert_close(fake_quantised(once, bits), once)


def test_the_gradient_passes_straight_through():
    weight = torch.randn(4, 5, requires_grad=True)
    wanted = torch.randn(4, 5)
    (fake_quantised(weight, 2) * wanted).sum().backward()
    torch.testing.assert_close(weight.grad, wanted)


def test_weights_of_zero_stay():
    torch.testing.assert_close(fake_quantised(torch.zeros(3, 3), 8), torch.zeros(3, 3))


def test_a_network_is_copied_and_its_kernels_alone_are_rounded():
    net = create(NetworkSpec(width=4, image_size=16), 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small = quantised(net, 4)
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    for name, value in small.named_parameters():
        assert torch.equal(value, before[name]) == (value.ndim == 1), name
        if value.ndim > 1:
            assert len(value.unique()) <= 15
    images = torch.rand(2, 3, 16, 16)
    assert not torch.allclose(small.eval()(images).logits, net.eval()(images).logits)
