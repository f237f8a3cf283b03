import pytest
import torch
from tiny import Tiny, cuttable

from tutelage.models.exits import Exits
from tutelage.types import BadInput


@pytest.mark.parametrize(("net", "exits"), [(Tiny(4), 1), (cuttable(4), 2)], ids=["two stages", "three"])
def test_there_is_an_exit_behind_each_stage_but_the_last(net, exits):
    outputs = net(torch.rand(5, 3, 8, 8))
    said = Exits(net, 3)(outputs.features)
    assert [(logits.shape, seen.shape) for logits, seen in said] == exits * [((5, 3), outputs.embedding.shape)]


def test_an_exit_sees_its_own_stage_and_no_later_one():
    net = cuttable(4)
    said = Exits(net, 3)(net(torch.rand(5, 3, 8, 8)).features)
    said[1][0].sum().backward()
    assert [any(p.grad is not None for p in stage.parameters()) for stage in net.net.stages] == [True, True, False]


def test_a_deeper_exit_skips_fewer_stages():
    exits = Exits(cuttable(4), 3)
    assert [sum(isinstance(part, torch.nn.Conv2d) for part in net) for net in exits.bottlenecks] == [2, 1]


def test_one_stage_has_no_exit():
    net = Tiny(4)
    net.widths = {"stage1": 4}
    with pytest.raises(BadInput, match="1 stage has no exit"):
        Exits(net, 3)
