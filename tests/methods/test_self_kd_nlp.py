import torch
import torch.nn.functional as F

from tutelage.losses.distillation import alike_classes
from tutelage.methods.self_kd_nlp import SelfKDNLP


def terms_after(make_nets, batch, method, step):
    nets = make_nets(method, steps=10)
    nets.student.eval()
    method.after_step(nets, step)
    return method.loss(nets, batch), nets.student(batch.labeled.strong).logits, nets


def test_labels_stay_until_the_warm_up_is_over(make_nets, batch):
    method = SelfKDNLP(warmup=0.5)
    for step, share in ((4, 0.0), (5, 0.1)):
        terms, logits, nets = terms_after(make_nets, batch, method, step)
        near = alike_classes(batch.labeled.labels, nets.student.head.weight, closest=5)
        torch.testing.assert_close(terms["task"], (1 - share) * F.cross_entropy(logits, batch.labeled.labels))
        torch.testing.assert_close(terms["alike"], share * F.cross_entropy(logits, near))


def test_without_a_share_it_is_plain_learning(make_nets, batch):
    terms, logits, _ = terms_after(make_nets, batch, SelfKDNLP(alpha=0.0), 10)
    torch.testing.assert_close(sum(terms.values()), F.cross_entropy(logits, batch.labeled.labels))


def test_the_rows_are_those_of_the_student_as_it_is_now(make_nets):
    nets = make_nets(SelfKDNLP())
    assert torch.equal(nets.extra.rows, nets.student.head.weight)
    with torch.no_grad():
        nets.student.head.weight.mul_(2)
    assert not torch.equal(nets.extra.rows, nets.student.head.weight)
    SelfKDNLP().after_step(nets, 1)
    assert torch.equal(nets.extra.rows, nets.student.head.weight)
    nets.student.head.weight.data.zero_()
    assert nets.extra.rows.any()  # a copy
