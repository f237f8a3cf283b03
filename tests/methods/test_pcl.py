import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.pcl import PCL


@pytest.fixture
def still(at_rest, batch):
    method = PCL(ramp=0.0)
    return method, at_rest(method), batch


def said_by(nets, batch):
    images = torch.cat([*(part.strong for part in batch), *(part.weak for part in batch)])
    return nets.extra(nets.student(images), nets.teacher(images))[0]


def test_terms_by_hand(still):
    method, nets, batch = still
    with torch.no_grad():
        for parameter in nets.extra.net.mean.parameters():
            parameter.mul_(1.5)
    said, ensemble, mean = said_by(nets, batch)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["ensemble"], F.cross_entropy(ensemble[:6], batch.labeled.labels))
    torch.testing.assert_close(terms["task"], sum(F.cross_entropy(one[:6], batch.labeled.labels) for one in said))
    told = sum(soft_label_kl(one, ensemble, temperature=3.0) for one in said)
    torch.testing.assert_close(terms["peers"], told)
    others = sum(soft_label_kl(said[j], mean[i], temperature=3.0) for j in range(3) for i in range(3) if i != j)
    torch.testing.assert_close(terms["averages"], others / 2)


def test_an_average_of_one_step_is_half_of_it(make_nets):
    method = PCL()
    nets = make_nets(method)
    inner = nets.extra.net
    pairs = [(nets.teacher.net, nets.student), (inner.mean, inner.branches)]
    before = [[p.clone() for p in mean.parameters()] for mean, _ in pairs]
    with torch.no_grad():
        for _, now in pairs:
            for parameter in now.parameters():
                parameter.add_(1.0)
    method.after_step(nets, 1)
    for old, (mean, now) in zip(before, pairs, strict=True):
        for was, average, is_now in zip(old, mean.parameters(), now.parameters(), strict=True):
            torch.testing.assert_close(average, (was + is_now) / 2)
    method.after_step(nets, 10**6)
    first = next(iter(inner.mean.parameters()))
    torch.testing.assert_close(first, before[1][0] + 0.5 + 0.001 * 0.5)


def test_a_branch_alone_learns_from_labels_and_the_head(make_nets, batch):
    method = PCL(branches=1, ramp=0.0)
    nets = make_nets(method)
    terms = method.loss(nets, batch)
    assert terms["averages"] == 0
    assert all(terms[name] > 0 for name in ("task", "ensemble", "peers"))


def test_no_gradient_reaches_the_head_from_what_it_teaches(still):
    method, nets, batch = still
    method.loss(nets, batch)["peers"].backward()
    assert nets.extra.net.head.weight.grad is None
