import torch
from tiny import Tiny

from tutelage.models.fused import Fused


def test_the_classifier_reads_the_last_maps_of_all_networks():
    net = Tiny(4)
    fused = Fused(net, 3, count=2)
    images = torch.rand(5, 3, 8, 8)
    others, said = fused(images, net(images).features)
    assert len(others) == 2
    assert said.shape == (5, 3)
    said.square().sum().backward()
    for each in (net, *fused.peers.nets):
        assert each.stage2[0].weight.grad.any()
        assert each.head.weight.grad is None


def test_channels_are_fused_to_the_width_of_one_network():
    depthwise, pointwise = (part for part in Fused(Tiny(4), 3, count=2).fusion if isinstance(part, torch.nn.Conv2d))
    assert (depthwise.groups, depthwise.in_channels, depthwise.out_channels) == (24, 24, 24)
    assert (pointwise.in_channels, pointwise.out_channels, pointwise.kernel_size) == (24, 8, (1, 1))
