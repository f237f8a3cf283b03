import pytest
import torch
import torch.nn.functional as F

from tutelage.methods.factor_transfer import FactorTransfer
from tutelage.types import BadInput


def test_first_stage_teaches_the_paraphraser_alone(make_nets, batch):
    method = FactorTransfer(unsupervised=0.5)
    nets = make_nets(method)
    terms = method.loss(nets, batch)
    factors = nets.extra.net
    last = nets.teacher(torch.cat([batch.labeled.strong, batch.unlabeled.strong])).features["stage2"]
    rows = (factors.decoder(factors.encoder(last)) - last).abs().mean((1, 2, 3))
    torch.testing.assert_close(terms["paraphrase"], (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    assert terms["task"] == terms["factor"] == 0
    sum(terms.values()).backward()
    assert not any(p.grad.any() for p in [*nets.student.parameters(), *factors.translator.parameters()])


def test_second_stage_is_labels_and_the_factor(make_nets, batch):
    method = FactorTransfer(unsupervised=0.5)
    nets = make_nets(method, steps=10)
    nets.student.eval()
    method.after_step(nets, 2)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, factors = nets.student(images), nets.extra.net
    ours = factors.translator(student.features["stage2"]).flatten(1)
    theirs = factors.encoder(nets.teacher(images).features["stage2"]).flatten(1)
    assert ours.shape == theirs.shape == (14, 6 * 4 * 4)  # half of the teacher's 12 channels
    apart = ours / ours.norm(dim=1, keepdim=True) - theirs / theirs.norm(dim=1, keepdim=True)
    rows = 500 * apart.abs().mean(1)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["factor"], (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    torch.testing.assert_close(terms["task"], F.cross_entropy(student.logits[:6], batch.labeled.labels))
    assert terms["paraphrase"] == 0


def test_the_paraphraser_says_the_same_from_the_end_of_the_first_stage_on(make_nets, batch):
    """Momentum and weight decay go on moving what they can reach."""
    method = FactorTransfer(first=0.5)
    nets, said = make_nets(method, steps=6), []
    optimizer = torch.optim.SGD(nets.extra.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    seen = [net(batch.labeled.strong).features for net in (nets.student.eval(), nets.teacher)]
    for step in range(1, 7):
        optimizer.zero_grad()
        sum(method.loss(nets, batch).values()).backward()
        optimizer.step()
        method.after_step(nets, step)
        said.append(nets.extra.net(*seen)[-1].detach())
    assert all(not torch.equal(said[i], said[i + 1]) for i in (0, 1))
    assert all(torch.equal(said[2], later) for later in said[3:])


def test_the_user_may_name_the_stages_and_the_rate(make_nets, batch):
    method = FactorTransfer(layers=("stage2:stage1",), rate=0.1)
    nets = make_nets(method)
    assert nets.extra.net.frozen(nets.teacher(batch.labeled.strong).features["stage1"]).shape[1] == 1
    assert method.loss(nets, batch)["paraphrase"] > 0  # maps of 4 x 4 and 8 x 8 positions


def test_more_pairs_than_the_one_that_is_learned_are_refused():
    with pytest.raises(BadInput, match=r"layers of FactorTransfer has 2 pairs.*one"):
        FactorTransfer(layers=("stage1:stage1", "stage2:stage2"))
