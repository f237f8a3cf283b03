import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.okddip import OKDDip


@pytest.fixture
def still(at_rest, batch):
    method = OKDDip(ramp=0.0)
    return method, at_rest(method), batch


def said_by(nets, batch):
    leader = nets.student(torch.cat([batch.labeled.strong, batch.unlabeled.strong]))
    (said, attention), _ = nets.extra(leader.features)
    return leader.logits, said, attention


def test_terms_by_hand(still):
    method, nets, batch = still
    leader, said, attention = said_by(nets, batch)
    told = [sum(attention[a, b][:, None] * said[b] for b in range(3)) for a in range(3)]
    terms = method.loss(nets, batch)
    apart = sum(soft_label_kl(one, other, temperature=3.0) for one, other in zip(said, told, strict=True))
    torch.testing.assert_close(terms["peers"], apart)
    torch.testing.assert_close(terms["leader"], soft_label_kl(leader, said.mean(0), temperature=3.0))
    lost = [F.cross_entropy(one[:6], batch.labeled.labels) for one in (*said, leader)]
    torch.testing.assert_close(terms["task"], sum(lost))


def test_attention_is_of_queries_to_keys(still):
    _, nets, batch = still
    leader = nets.student(batch.labeled.strong)
    inner = nets.extra.net
    seen = [each.embedding for each in inner.branches(leader.features)]
    (_, attention), _ = nets.extra(leader.features)
    for image in range(6):
        scores = torch.stack([torch.stack([inner.query(a[image]) @ inner.key(b[image]) for b in seen]) for a in seen])
        torch.testing.assert_close(attention[:, :, image], scores.softmax(-1))
    torch.testing.assert_close(attention.sum(1), torch.ones(3, 6))
    assert not torch.allclose(attention, attention.transpose(0, 1))
    assert inner.query.out_features == 16 // 8


def test_peers_that_ask_nothing_hear_the_mean(still):
    _, nets, batch = still
    torch.nn.init.zeros_(nets.extra.net.query.weight)
    _, _, attention = said_by(nets, batch)
    torch.testing.assert_close(attention, torch.full((3, 3, 14), 1 / 3))


def test_what_is_learned_from_learns_too(still):
    method, nets, batch = still
    method.loss(nets, batch)["peers"].backward()
    assert nets.extra.net.query.weight.grad.any()
    assert nets.student.net.head.fc.weight.grad is None  # the leader is no peer
