import copy

import pytest
import torch
from tiny import interacting

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import count_parameters, load_model, save_model
from tutelage.models.grown import Layer
from tutelage.models.interacting import Attention, exchanged
from tutelage.types import BadInput

IMAGES = torch.linspace(0, 1, 5 * 3 * 64).view(5, 3, 8, 8)


class Less(torch.nn.Module):
    def forward(self, maps):
        return maps[:, :1] - 2


def test_attention_is_a_share_of_each_position():
    found = Attention(8)(torch.randn(3, 8, 5, 5))
    assert found.shape == (3, 1, 5, 5)
    assert found.min() > 0
    assert found.max() < 1


def test_attention_by_hand():
    """One channel; what all weights are 0 in halves the channels, and the middle of the kernel picks the mean."""
    attention = Attention(1)
    with torch.no_grad():
        attention.channels.fc1.weight.zero_()
        attention.positions.weight.zero_()
        attention.positions.weight[0, 0, 3, 3] = 1
    maps = torch.tensor([[[[2.0, 4.0]]]])
    torch.testing.assert_close(attention(maps), torch.tensor([[[[1.0, 2.0]]]]).sigmoid())


def test_each_takes_the_attention_of_the_other():
    one, other = torch.full((1, 2, 1, 1), 3.0), torch.full((1, 2, 1, 1), 5.0)
    found = exchanged(one, other, Less())
    assert [maps.flatten().tolist() for maps in found] == [[9.0, 9.0], [5.0, 5.0]]


def test_networks_that_are_swapped_swap_their_maps():
    net = interacting(4).eval()
    swapped = copy.deepcopy(net)
    swapped.net.nets = torch.nn.ModuleList(reversed(swapped.net.nets))
    for name, maps in net(IMAGES).features.items():
        one, other = maps.chunk(2, dim=1)
        assert not torch.equal(one, other)
        torch.testing.assert_close(swapped(IMAGES).features[name], torch.cat([other, one], dim=1))


def test_neither_network_can_do_without_its_peer():
    net = interacting(4).eval()
    before = net(IMAGES).features["stage3"].chunk(2, dim=1)[0]
    with torch.no_grad():
        for value in net.net.nets[1].parameters():
            value.mul_(2)
    assert not torch.allclose(before, net(IMAGES).features["stage3"].chunk(2, dim=1)[0])


def test_it_is_one_model_that_counts_both(tmp_path):
    net = interacting(16).eval()
    own = create(NetworkSpec(width=16, image_size=8), 3)
    assert count_parameters(net) > 2 * (count_parameters(own) - count_parameters(own.net.head))
    save_model(tmp_path / "model", net, classes=["a", "b", "c"], method="AFID()")
    again, card = load_model(tmp_path / "model")
    assert card.parameters == count_parameters(net)
    assert card.spec.name == "interacting_resnet"
    torch.testing.assert_close(again(IMAGES).logits, net(IMAGES).logits, rtol=0, atol=0)


def test_what_published_weights_and_added_layers_are_refused_for():
    with pytest.raises(BadInput, match="no published weights"):
        NetworkSpec(name="interacting_resnet", pretrained=True)
    with pytest.raises(BadInput, match="has 3 layers"):
        create(NetworkSpec(name="interacting_resnet", added=(Layer("identity", False, False),) * 3), 3)
