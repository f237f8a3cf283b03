import torch

from tutelage.methods.vargface_recursive import VarGFaceRecursive
from tutelage.train.generations import generations
from tutelage.train.loop import fit
from tutelage.train.settings import Optimiser
from tutelage.types import Sizes


def test_each_generation_begins_where_the_last_ended_and_the_teacher_stays(make_nets, batch, engine):
    method, settings = VarGFaceRecursive(), Optimiser(warmup_steps=0)
    nets = make_nets(method)
    before = {name: value.clone() for name, value in nets.teacher.state_dict().items()}
    begun, ended = [], []
    for run in generations(method, nets.student, nets.teacher.net, Sizes(6, 8, 3, 4), settings, count=3):
        assert run.step == 0
        assert all(p.requires_grad for p in run.nets.student.parameters())
        begun.append({name: value.clone() for name, value in run.nets.student.state_dict().items()})
        list(fit(method, run, [batch] * 4, settings, steps=4, accelerator=engine))
        ended.append({name: value.clone() for name, value in run.average.state_dict().items()})
        torch.testing.assert_close(dict(run.nets.teacher.state_dict()), before, rtol=0, atol=0)
    assert len(begun) == 3
    for last, following in zip(ended, begun[1:], strict=False):
        torch.testing.assert_close(following, last, rtol=0, atol=0)
    assert any(not torch.equal(begun[1][name], begun[2][name]) for name in begun[1])
