import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.losses.selfsupervision import cosines
from tutelage.methods.sskd import SSKD

# At high temperatures T^2 KL no longer depends on T: these cosines are near each other, so theirs is low.
EVERYTHING = SSKD(first=1e-6, turned_ratio=1.0, similar_ratio=1.0, similar_temperature=0.05)


def turns(batch):
    upright = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    return upright, torch.cat([upright.rot90(turn, (2, 3)) for turn in (1, 2, 3)])


@pytest.fixture
def still(make_nets):
    """Networks whose answers do not depend on what else is in the batch."""

    def make(method, **kwargs):
        nets = make_nets(method, **kwargs)
        nets.student.eval()
        return nets

    return make


@pytest.fixture
def late(still):
    """The same after the first step, which is all that a very short first stage has."""

    def make(method):
        nets = still(method)
        method.after_step(nets, 1)
        return nets

    return make


def test_terms_match_the_authors_where_all_is_kept(late, batch):
    nets = late(EVERYTHING)
    (upright, turned), labels = turns(batch), batch.labeled.labels
    terms = EVERYTHING.loss(nets, batch)
    say = {name: (net(upright), net(turned)) for name, net in (("ours", nets.student), ("theirs", nets.teacher))}
    soft = soft_label_kl(say["ours"][0].logits, say["theirs"][0].logits, temperature=4.0)
    torch.testing.assert_close(terms["distillation"], 0.9 * soft)
    soft = soft_label_kl(say["ours"][1].logits, say["theirs"][1].logits, temperature=4.0)
    torch.testing.assert_close(terms["turned"], 2.7 * soft)
    torch.testing.assert_close(terms["task"], 0.1 * F.cross_entropy(say["ours"][0].logits[:6], labels))
    heads = {"ours": nets.extra.net.student, "theirs": nets.extra.net.teacher}
    rows = [cosines(heads[who](say[who][1].embedding), heads[who](say[who][0].embedding)) for who in heads]
    torch.testing.assert_close(terms["similarity"], 10 * soft_label_kl(*rows, temperature=0.05), atol=1e-6, rtol=1e-4)
    assert terms["pretext"] == 0


def test_a_student_like_its_teacher_has_nothing_to_learn_but_labels(late, batch):
    nets = late(EVERYTHING)
    nets = nets._replace(student=nets.teacher.net)
    nets.extra.net.student = nets.extra.net.teacher
    terms = EVERYTHING.loss(nets, batch)
    for name in ("distillation", "turned", "similarity"):
        torch.testing.assert_close(terms[name], torch.tensor(0.0), atol=1e-5, rtol=0)
    assert terms["task"] > 0


def test_first_the_teachers_head_then_similarities(still, batch):
    method = SSKD(first=0.5)
    nets = still(method, steps=10)
    terms = method.loss(nets, batch)
    assert terms["similarity"] == 0
    assert terms["pretext"] > 0
    method.after_step(nets, 5)
    terms = method.loss(nets, batch)
    assert terms["similarity"] > 0
    assert terms["pretext"] == 0


def test_the_head_is_as_it_was_at_the_end_of_its_stage(still, batch):
    """Momentum and decay go on moving what the optimizer sees; similarities are of a copy."""
    method = SSKD(first=0.5)
    nets = still(method, steps=4)
    optimizer = torch.optim.SGD([p for p in nets.extra.parameters() if p.requires_grad], lr=0.5, momentum=0.9)
    states = []
    for step in range(1, 5):
        optimizer.zero_grad()
        sum(method.loss(nets, batch).values()).backward()
        optimizer.step()
        method.after_step(nets, step)
        states.append({name: p.clone() for name, p in nets.extra.net.frozen.state_dict().items()})
    assert not torch.equal(states[0]["0.weight"], states[1]["0.weight"])
    torch.testing.assert_close(states[3], states[1], rtol=0, atol=0)
    assert not torch.equal(nets.extra.net.teacher.state_dict()["0.weight"], states[3]["0.weight"])


def test_the_head_learns_to_find_the_upright_image(still, batch):
    method = SSKD(first=1.0)
    nets = still(method)
    optimizer = torch.optim.Adam(nets.extra.net.teacher.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(method.loss(nets, batch)["pretext"])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.95 * losses[0]


def test_what_the_teacher_gets_wrong_is_left_out(late, batch):
    """Labels that are all wrong: none of the labelled turned images is kept, and of the pool the consistent ones."""
    none = dataclasses.replace(EVERYTHING, turned_ratio=0.0, unsupervised=0.0)
    nets = late(none)
    _, turned = turns(batch._replace(unlabeled=type(batch.unlabeled)(*(x[:0] for x in batch.unlabeled))))
    said, told = nets.student(turned).logits, nets.teacher(turned).logits
    right = told.argmax(-1) == batch.labeled.labels.repeat(3)
    wanted = 2.7 * soft_label_kl(said[right], told[right], temperature=4.0)
    assert 0 < right.sum() < len(right)
    torch.testing.assert_close(none.loss(nets, batch)["turned"], wanted)


def test_the_class_of_a_pool_image_is_what_the_teacher_says_of_it_upright(late, batch):
    method = dataclasses.replace(EVERYTHING, turned_ratio=0.0)
    nets = late(method)
    upright, turned = turns(batch)
    truth = torch.cat([batch.labeled.labels, nets.teacher(upright).logits[6:].argmax(-1)]).repeat(3)
    said, told = nets.student(turned).logits, nets.teacher(turned).logits
    right = told.argmax(-1) == truth
    wanted = 2.7 * soft_label_kl(said[right], told[right], temperature=4.0)
    torch.testing.assert_close(method.loss(nets, batch)["turned"], wanted)
