import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.byot import BYOT


def test_terms_by_hand(make_nets, batch):
    method = BYOT(alpha=0.3, hint=0.1)
    nets = make_nets(method)
    nets.student.eval()
    nets.extra.eval()
    outputs = nets.student(torch.cat([batch.labeled.strong, batch.unlabeled.strong]))
    ((said, seen),) = nets.extra(outputs.features)
    terms = method.loss(nets, batch)
    lost = [F.cross_entropy(one[:6], batch.labeled.labels) for one in (said, outputs.logits)]
    torch.testing.assert_close(terms["task"], 0.7 * sum(lost))
    torch.testing.assert_close(terms["distillation"], 0.3 * soft_label_kl(said, outputs.logits, temperature=3.0))
    torch.testing.assert_close(terms["hint"], 0.1 * (seen - outputs.embedding).square().sum(1).mean())


def test_the_last_exit_learns_labels_alone(make_nets, batch):
    method = BYOT()
    nets = make_nets(method)
    terms = method.loss(nets, batch)
    (terms["distillation"] + terms["hint"]).backward()
    assert nets.student.head.weight.grad is None
    assert nets.student.stage2[0].weight.grad is None
    assert nets.student.stage1[0].weight.grad.any()


def test_exits_are_no_part_of_the_student(make_nets, batch):
    nets = make_nets(BYOT())
    nets.student.eval()
    before = nets.student(batch.labeled.weak).logits
    with torch.no_grad():
        for parameter in nets.extra.parameters():
            parameter.zero_()
    torch.testing.assert_close(nets.student(batch.labeled.weak).logits, before, rtol=0, atol=0)
