import pytest
import torch

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.tails import classifier, map_sizes, tail
from tutelage.types import BadInput

SMALL = NetworkSpec(width=4, image_size=16)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_network_is_its_stages_and_the_tail_behind_them(stage):
    net = create(SMALL, 3).eval()
    outputs = net(torch.rand(2, 3, 16, 16))
    rest = tail(net, stage).eval()
    torch.testing.assert_close(rest(outputs.features[f"stage{stage}"]), outputs.logits)


def test_a_tail_is_a_copy():
    net = create(SMALL, 3)
    before = net.net.head.fc.weight.detach().clone()
    with torch.no_grad():
        for parameter in tail(net, 2).parameters():
            parameter.zero_()
    torch.testing.assert_close(net.net.head.fc.weight.detach(), before, rtol=0, atol=0)


def test_sizes_of_maps_leave_the_network_as_it_was():
    net = create(SMALL, 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert map_sizes(net, 28) == [(14, 14), (7, 7), (4, 4)]
    assert net.training
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)


def test_a_network_whose_stages_cannot_be_told_apart_is_refused():
    with pytest.raises(BadInput, match=r"test_vit cannot be cut behind a stage.*Use small_resnet"):
        tail(create(NetworkSpec(name="test_vit", image_size=160), 3), 1)


def test_the_classifier_is_what_makes_the_logits():
    for spec in (SMALL, NetworkSpec(name="test_vit", image_size=160)):
        net = create(spec, 3).eval()
        outputs = net(torch.rand(2, 3, spec.image_size, spec.image_size))
        torch.testing.assert_close(classifier(net, 3)(outputs.embedding), outputs.logits)
    with pytest.raises(BadInput, match=r"small_resnet ends in no linear layer of 5 classes"):
        classifier(create(SMALL, 3), 5)
