import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.losses.peers import mixture
from tutelage.methods.one import ONE


def said_by(nets, images):
    outputs = nets.student(images)
    (others, gates), _ = nets.extra(outputs.features)
    return torch.stack([outputs.logits, *(each.logits for each in others)]), gates


@pytest.fixture
def still(at_rest, batch):
    method = ONE(unsupervised=0.5)
    return method, at_rest(method), batch


def test_terms_by_hand(still):
    method, nets, batch = still
    terms = method.loss(nets, batch)
    said, gates = said_by(nets, torch.cat([batch.labeled.strong, batch.unlabeled.strong]))
    assert said.shape == (3, 14, 3)
    told = sum(gates[:, k, None] * said[k] for k in range(3))
    known, pool = slice(0, 6), slice(6, 14)
    apart = sum(
        6 * soft_label_kl(one[known], told[known], temperature=3.0)
        + 0.5 * 8 * soft_label_kl(one[pool], told[pool], temperature=3.0)
        for one in said
    )
    torch.testing.assert_close(terms["distillation"], 0.006738 * apart / 10, rtol=1e-4, atol=0)
    torch.testing.assert_close(terms["ensemble"], F.cross_entropy(told[known], batch.labeled.labels))
    torch.testing.assert_close(terms["task"], sum(F.cross_entropy(one[known], batch.labeled.labels) for one in said))
    method.after_step(nets, 60)
    torch.testing.assert_close(method.loss(nets, batch)["distillation"], apart / 10)


def test_a_gate_that_knows_nothing_weighs_all_alike(still):
    _, nets, batch = still
    torch.nn.init.zeros_(nets.extra.net.gate[0].weight)
    _, gates = said_by(nets, batch.labeled.strong)
    torch.testing.assert_close(gates, torch.full((6, 3), 1 / 3))


def test_branches_that_are_alike_are_the_ensemble(still):
    method, nets, batch = still
    inner = nets.student.net
    for rest in nets.extra.net.branches.tails:
        for mine, theirs in zip(rest, [inner.stages[2], inner.final_conv, inner.head], strict=True):
            mine.load_state_dict(theirs.state_dict())
    method.after_step(nets, 60)
    said, gates = said_by(nets, batch.labeled.strong)
    torch.testing.assert_close(mixture(gates, said), said[0])
    torch.testing.assert_close(method.loss(nets, batch)["distillation"], torch.tensor(0.0), atol=1e-6, rtol=0)


def test_the_divergence_grows_over_its_share_of_the_run(still):
    method, nets, batch = still
    grown = []
    for step in (1, 8, 17, 60):
        method.after_step(nets, step)
        grown.append(method.loss(nets, batch)["distillation"])
    assert grown[0] < grown[1] < grown[2] == grown[3]


def test_no_gradient_of_the_divergence_reaches_the_gate(still):
    method, nets, batch = still
    method.loss(nets, batch)["distillation"].backward()
    assert nets.extra.net.gate[0].weight.grad is None
