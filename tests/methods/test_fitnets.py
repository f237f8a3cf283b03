import pytest
import torch
import torch.nn.functional as F

from tutelage.methods.fitnets import FitNets
from tutelage.types import BadInput


@pytest.fixture
def looked(make_nets, batch):
    """Networks in eval mode, what both say of the transfer set, and the guided map after the regressor."""

    def look(method, step=0):
        nets = make_nets(method, steps=10)
        nets.student.eval(), nets.extra.eval()
        method.after_step(nets, step)
        images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
        student, teacher = nets.student(images), nets.teacher(images)
        return nets, student, teacher, nets.extra.net.nets[0](student.features["stage1"])

    return look


def test_first_stage_is_half_the_squared_hint_of_the_middle_and_nothing_else(looked, batch):
    method = FitNets(unsupervised=0.5)
    nets, _, teacher, guided = looked(method)
    terms = method.loss(nets, batch)
    squares = 0.5 * (guided - teacher.features["stage1"]).square().sum((1, 2, 3))
    torch.testing.assert_close(terms["hint"], (squares[:6].sum() + 0.5 * squares[6:].sum()) / (6 + 4))
    assert terms["task"] == terms["distillation"] == 0


def test_first_stage_leaves_what_is_above_the_guided_layer_alone(make_nets, batch):
    method = FitNets()
    nets = make_nets(method)
    before = {name: p.detach().clone() for name, p in nets.student.named_parameters()}
    optimizer = torch.optim.SGD([*nets.student.parameters(), *nets.extra.parameters()], lr=0.01)
    for step in range(1, 4):
        optimizer.zero_grad()
        torch.stack(list(method.loss(nets, batch).values())).sum().backward()
        optimizer.step()
        method.after_step(nets, step)
    moved = {name for name, p in nets.student.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("stage1")}


@pytest.mark.parametrize(("step", "weight"), [(4, 4.0), (7, 2.5), (10, 1.0)])
def test_second_stage_is_labels_and_soft_labels_that_fade(looked, batch, step, weight):
    method = FitNets(first=0.4)
    nets, student, teacher, _ = looked(method, step)
    terms = method.loss(nets, batch)
    soft = -((teacher.logits / 3).softmax(-1) * (student.logits / 3).log_softmax(-1)).sum(-1).mean()  # no T^2
    torch.testing.assert_close(terms["distillation"], weight * soft)
    torch.testing.assert_close(terms["task"], F.cross_entropy(student.logits[:6], batch.labeled.labels))
    assert terms["hint"] == 0


def test_joint_is_labels_and_a_hundred_times_the_mean_square(looked, batch):
    method = FitNets(form="joint", layers=("stage1:stage1",))
    nets, student, teacher, guided = looked(method)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["hint"], 100 * F.mse_loss(guided, teacher.features["stage1"]))
    torch.testing.assert_close(terms["task"], F.cross_entropy(student.logits[:6], batch.labeled.labels))
    assert terms["distillation"] == 0


def test_a_stage_that_is_not_there_is_refused(make_nets):
    with pytest.raises(BadInput, match=r"'stage3' is no stage of the student"):
        make_nets(FitNets(layers=("stage3:stage1",)))
