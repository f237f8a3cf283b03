import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.contrast import memory_rows, pair_similarities
from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.mcl import MCL
from tutelage.types import BadInput


def test_terms_by_hand(make_nets, batch):
    method = MCL(negatives=5, contrast=0.5, unsupervised=0.25)
    nets = make_nets(method)
    nets.student.eval()
    nets.extra.eval()
    memories = nets.extra.memories.clone()
    torch.manual_seed(1)
    terms = method.loss(nets, batch)
    nets.extra.memories.copy_(memories)
    torch.manual_seed(1)
    outputs = nets.student(torch.cat([batch.labeled.strong, batch.unlabeled.strong]))
    others, *views = nets.extra(outputs, batch.unlabeled.ids, negatives=5)
    similar = pair_similarities(*views)
    said = [each.logits for each in (*others, outputs)]
    assert len(said) == 4
    mean = sum(said) / 4
    known, pool = (soft_label_kl(outputs.logits[x], mean[x], temperature=3.0) for x in (slice(6), slice(6, 14)))
    torch.testing.assert_close(terms["distillation"], (6 * known + 0.25 * 8 * pool) / 8)
    torch.testing.assert_close(terms["task"], sum(F.cross_entropy(one[:6], batch.labeled.labels) for one in said))
    assert similar.shape == (12, 8, 6)
    torch.testing.assert_close(terms["contrast"], 0.125 * memory_rows(similar, tau=0.1).sum() / 8)


def test_soft_labels_teach_the_student_alone(make_nets, batch):
    method = MCL()
    nets = make_nets(method)
    method.loss(nets, batch)["distillation"].backward()
    assert nets.student.net.head.fc.weight.grad.any()
    assert all(p.grad is None for p in nets.extra.branches.parameters())


def test_the_pool_is_remembered(make_nets, batch):
    method = MCL()
    nets = make_nets(method)
    assert nets.extra.memories.shape == (4, 8, 128)
    before = nets.extra.memories.clone()
    method.loss(nets, batch)
    assert not torch.isclose(nets.extra.memories, before).all(-1).any()


def test_one_branch_has_nothing_to_be_told_from():
    with pytest.raises(BadInput, match="branches of MCL is 1"):
        MCL(branches=1)
