import pytest
import torch
import torch.nn.functional as F

from tutelage.methods.fsp import FSP
from tutelage.types import BadInput, Sizes


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize(("elements", "weight"), [("sum", 1.0), ("mean", 50.0)])
def test_the_flow_between_the_stages(make_nets, batch, elements, weight, pooling):
    method = FSP(elements=elements, weight=weight, pooling=pooling, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval(), nets.extra.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    half = F.max_pool2d if pooling == "max" else F.avg_pool2d  # stage1 has 8 x 8 positions, stage2 4 x 4

    def matrix(stage1, stage2):
        return torch.einsum("nahw,nbhw->nab", half(stage1, 2), stage2) / 16

    ours, theirs = nets.student(images).features, nets.teacher(images).features
    adapted = [net(ours[name]) for net, name in zip(nets.extra.net.nets, ("stage1", "stage2"), strict=True)]
    squares = (matrix(*adapted) - matrix(theirs["stage1"], theirs["stage2"])).square().flatten(1)
    rows = squares.sum(1) if elements == "sum" else squares.mean(1)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["flow"], weight * (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    assert terms["task"] == 0


def test_the_second_stage_is_supervised(make_nets, batch):
    method = FSP(first=0.5)
    nets = make_nets(method, steps=10)
    nets.student.eval()
    method.after_step(nets, 5)
    terms = method.loss(nets, batch)
    assert terms["flow"] == 0
    logits = nets.student(batch.labeled.strong).logits
    torch.testing.assert_close(terms["task"], F.cross_entropy(logits, batch.labeled.labels))


def test_equal_widths_need_no_adapter_and_equal_networks_flow_alike(make_nets, batch):
    method = FSP()
    nets = make_nets(method)
    extra = method.init(nets.teacher, nets.teacher, Sizes(6, 8, 3, 10))
    assert list(extra.parameters()) == []
    assert method.loss(nets._replace(student=nets.teacher, extra=extra), batch)["flow"] == 0


def test_one_stage_has_no_flow(make_nets):
    with pytest.raises(BadInput, match=r"a flow needs two.*layers"):
        make_nets(FSP(layers=("stage1:stage1",)))
