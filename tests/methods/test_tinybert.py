import torch
from tiny import nets_of, tiny_vit
from torch import nn

from tutelage.methods.method import Paced
from tutelage.methods.tinybert import TinyBERT


def images_of(batch):
    return torch.cat([batch.labeled.strong, batch.unlabeled.strong])


def test_first_stage_is_embeddings_blocks_and_scores(batch):
    method = TinyBERT(first=0.5)
    nets = nets_of(method, tiny_vit(2), tiny_vit(4, width=12), steps=10)
    student, teacher = (net(images_of(batch), tokens="attention").tokens for net in (nets.student, nets.teacher))
    embeddings, blocks = nets.extra.net.embeddings, nets.extra.net.blocks
    mse = nn.functional.mse_loss
    hidden = mse(embeddings(student.hidden[0]), teacher.hidden[0])
    hidden = hidden + sum(mse(blocks(student.hidden[mine]), teacher.hidden[2 * mine]) for mine in (1, 2))
    attention = sum(mse(student.scores[mine], teacher.scores[2 * mine + 1]) for mine in (0, 1))
    expected = {"hidden": hidden, "attention": attention, "distillation": torch.tensor(0.0)}
    torch.testing.assert_close(method.loss(nets, batch), expected)


def test_second_stage_is_soft_labels_alone_and_no_label_is_read(batch):
    method = TinyBERT(first=0.5, temperature=2.0, unsupervised=0.0)
    nets = nets_of(method, tiny_vit(2), tiny_vit(4), steps=10)
    other = batch._replace(labeled=batch.labeled._replace(labels=batch.labeled.labels.flip(0)))
    assert method.loss(nets, batch) == method.loss(nets, other)
    method.after_step(nets, 5)
    student, teacher = (net(batch.labeled.strong).logits / 2 for net in (nets.student, nets.teacher))
    soft = -(teacher.softmax(-1) * student.log_softmax(-1)).mean()
    expected = {"hidden": torch.tensor(0.0), "attention": torch.tensor(0.0), "distillation": soft}
    torch.testing.assert_close(method.loss(nets, batch), expected)


def test_the_teacher_itself_under_identity_maps_lacks_nothing(batch):
    method, teacher = TinyBERT(), tiny_vit(3)
    nets = nets_of(method, teacher, teacher, steps=10)
    assert isinstance(nets.extra, Paced)
    for linear in (nets.extra.net.embeddings, nets.extra.net.blocks):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["hidden"], torch.tensor(0.0), atol=1e-9, rtol=0)
    torch.testing.assert_close(terms["attention"], torch.tensor(0.0), atol=1e-9, rtol=0)
