from itertools import zip_longest

import pytest
import torch
from tiny import Tiny, interacting
from torch import nn

from tutelage.methods.afid import AFID
from tutelage.methods.ffl import FFL
from tutelage.models.backbone import NetworkSpec, create
from tutelage.types import BadInput, Nets, Sizes


class One(nn.Module):
    """Attention that counts all positions alike."""

    def forward(self, maps):
        return torch.ones_like(maps[:, :1])


def test_without_attention_it_is_ffl(at_rest, batch):
    pair = at_rest(AFID(ramp=0.0))
    pair.student.net.attention = nn.ModuleList(One() for _ in pair.student.net.attention)
    student = create(NetworkSpec(width=4, image_size=8), 3).eval()
    extra = FFL().init(student, student, Sizes(6, 8, 3, 60)).eval()
    for net, mine, head in zip_longest((student, *extra.net.peers.nets), pair.student.net.nets, pair.extra.net.heads):
        net.net.load_state_dict(mine.state_dict() | {f"head.fc.{k}": v for k, v in head.state_dict().items()})
    extra.net.fusion[:-1].load_state_dict(pair.student.net.fusion.state_dict())
    extra.net.fusion[-1].load_state_dict(pair.student.net.fc.state_dict())
    found = AFID(ramp=0.0).loss(pair, batch)
    wanted = FFL(ramp=0.0).loss(Nets(student, student, extra), batch)
    assert found["distillation"] > 0
    torch.testing.assert_close(found, wanted)


def test_a_student_that_is_not_two_is_refused():
    with pytest.raises(BadInput, match=r"Set network\.name to interacting_resnet"):
        AFID().init(Tiny(4), Tiny(4), Sizes(6, 8, 3, 60))


def test_each_head_reads_its_own_network():
    net = interacting(4).eval()
    heads = AFID().init(net, net, Sizes(6, 8, 3, 60)).net
    with torch.no_grad():
        features = net(torch.rand(5, 3, 8, 8)).features
        before = heads(features)
        last = features[heads.stage]
        last[:, last.shape[1] // 2 :] += 1
        after = heads(features)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
