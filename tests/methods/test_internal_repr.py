import pytest
import torch
import torch.nn.functional as F
from tiny import nets_of, tiny_vit

from tutelage.methods.internal_repr import InternalRepr
from tutelage.types import BadInput


def by_hand(nets, batch):
    """Loss of each block of a student of two, whose teacher has four."""
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = (net(images, tokens="attention").tokens for net in (nets.student, nets.teacher))
    losses = []
    for mine, other in ((1, 2), (2, 4)):
        told, said = teacher.scores[other - 1].log_softmax(-1), student.scores[mine - 1].log_softmax(-1)
        attention = (told.exp() * (told - said)).sum(-1).mean()
        token = 1 - F.cosine_similarity(student.hidden[mine][:, 0], teacher.hidden[other][:, 0], dim=1).mean()
        losses.append(attention + token)
    return losses


@pytest.mark.parametrize(
    ("schedule", "counted"),
    [("all", [(1, 1, 1)] * 3), ("stacked", [(1, 0, 0), (1, 1, 0), (1, 1, 1)]),
     ("progressive", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])],
)  # fmt: skip
def test_blocks_take_turns_and_then_the_classifier(batch, schedule, counted):
    method = InternalRepr(schedule=schedule, first=0.5, internal=2.0)
    nets = nets_of(method, tiny_vit(2), tiny_vit(4), steps=12)
    lower, upper = by_hand(nets, batch)
    for step, (first, second, top) in zip((0, 3, 6), counted, strict=True):  # six steps for two blocks
        method.after_step(nets, step)
        terms = method.loss(nets, batch)
        torch.testing.assert_close(terms["internal"], 2 * (first * lower + second * upper))
        assert (terms["task"] > 0) == (terms["distillation"] > 0) == bool(top)


def test_a_block_that_has_learned_makes_way_early(batch):
    for threshold, done in ((0.0, [0, 0]), (1e6, [1, 2])):
        method = InternalRepr(threshold=threshold)
        nets = nets_of(method, tiny_vit(2), tiny_vit(4), steps=1000)
        for step, wanted in zip((1, 2), done, strict=True):
            method.loss(nets, batch)
            method.after_step(nets, step)
            assert nets.extra.done == wanted


def test_the_teacher_itself_lacks_nothing_inside(batch):
    method, teacher = InternalRepr(schedule="all", temperature=2.0), tiny_vit(2)
    nets = nets_of(method, teacher, teacher)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["internal"], torch.tensor(0.0), atol=1e-5, rtol=0)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    logits = nets.student(images).logits
    soft = -((logits / 2).softmax(-1) * (logits / 2).log_softmax(-1)).sum(1).mean()
    torch.testing.assert_close(terms["distillation"], soft)
    torch.testing.assert_close(terms["task"], F.cross_entropy(logits[:6], batch.labeled.labels))


def test_tokens_of_other_widths_are_refused():
    with pytest.raises(BadInput, match=r"8 wide, of its teacher 12.*tinybert"):
        nets_of(InternalRepr(), tiny_vit(2), tiny_vit(4, width=12))
