import pytest
import torch

from tutelage.losses.relations import similarity_preserving
from tutelage.methods.sp import SP
from tutelage.types import BadInput


def test_stages_are_summed_with_the_weight(make_nets, batch):
    method = SP(weight=7.0)
    nets = make_nets(method)
    nets.student.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images).features, nets.teacher(images).features
    wanted = 7 * sum(similarity_preserving(student[stage], teacher[stage]) for stage in ("stage1", "stage2"))
    loss = method.loss(nets, batch)["similarity"]
    torch.testing.assert_close(loss, wanted)
    loss.backward()  # the value is the same for the two networks exchanged, but not who learns
    assert nets.student.stage2[0].weight.grad.any()


def test_named_layers_are_the_only_ones(make_nets, batch):
    method = SP(weight=1.0, layers=("stage1:stage2",))
    nets = make_nets(method)
    nets.student.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    wanted = similarity_preserving(nets.student(images).features["stage1"], nets.teacher(images).features["stage2"])
    torch.testing.assert_close(method.loss(nets, batch)["similarity"], wanted)


def test_unknown_layers_are_refused_before_the_first_step(make_nets):
    with pytest.raises(BadInput, match="stage9"):
        make_nets(SP(layers=("stage9:stage1",)))
