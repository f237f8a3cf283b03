import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.ffl import FFL


@pytest.fixture
def still(at_rest, batch):
    method = FFL(ramp=0.0)
    return method, at_rest(method), batch


def test_terms_by_hand(still):
    method, nets, batch = still
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student = nets.student(images)
    ((peer,), fused), _ = nets.extra(images, student.features)
    terms = method.loss(nets, batch)
    both = (student.logits, peer.logits)
    told = sum(soft_label_kl(one, fused, temperature=3.0) for one in both)
    torch.testing.assert_close(terms["distillation"], told)
    torch.testing.assert_close(terms["ensemble"], soft_label_kl(fused, sum(both) / 2, temperature=3.0))
    torch.testing.assert_close(terms["fused"], F.cross_entropy(fused[:6], batch.labeled.labels))
    torch.testing.assert_close(terms["task"], sum(F.cross_entropy(one[:6], batch.labeled.labels) for one in both))


def test_divergences_begin_at_less_than_a_hundredth(still):
    _, nets, batch = still
    whole, begun = (FFL(ramp=ramp).loss(nets, batch) for ramp in (0.0, 0.5))
    for name in ("distillation", "ensemble"):
        torch.testing.assert_close(begun[name], math.exp(-5) * whole[name])


def test_where_all_agree_there_is_nothing_to_learn_but_labels(still):
    method, nets, batch = still
    with torch.no_grad():
        for layer in (nets.student.head, nets.extra.net.peers.nets[0].head, nets.extra.net.fusion[-1]):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    terms = method.loss(nets, batch)
    for name in ("distillation", "ensemble"):
        torch.testing.assert_close(terms[name], torch.tensor(0.0), atol=1e-6, rtol=0)


def test_no_gradient_reaches_what_is_learned_from(still):
    method, nets, batch = still
    method.loss(nets, batch)["distillation"].backward()
    assert nets.extra.net.fusion[-1].weight.grad is None
    assert nets.student.head.weight.grad.any()
    nets.student.zero_grad()
    method.loss(nets, batch)["ensemble"].backward()
    assert nets.extra.net.fusion[-1].weight.grad.any()
    assert nets.student.head.weight.grad is None
