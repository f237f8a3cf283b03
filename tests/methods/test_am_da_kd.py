import copy

import torch
import torch.nn.functional as F

from tutelage.data.corruptions import corrupted
from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.am_da_kd import AMDAKD
from tutelage.models.average import Frozen
from tutelage.types import Nets


def test_a_copy_that_hears_the_source_model_alone_stays(make_nets, batch):
    method = AMDAKD(soft=1.0, strength=0.0)
    nets = make_nets(method)
    student = copy.deepcopy(nets.student).eval()
    pair = Nets(student, Frozen(student), nets.extra)
    terms = method.loss(pair, batch)
    torch.testing.assert_close(terms["distillation"], torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.stack(list(terms.values())).sum().backward()
    for p in student.parameters():
        torch.testing.assert_close(p.grad, torch.zeros_like(p), atol=1e-6, rtol=0)


def test_both_look_at_the_target(make_nets, batch):
    method = AMDAKD(soft=0.25, temperature=3.0, corruption="night", strength=0.5)
    nets = make_nets(method)
    nets.student.eval()
    target = corrupted(batch.labeled.strong, "night", strength=0.5)
    said, told = nets.student(target).logits, nets.teacher(target).logits
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["task"], 0.75 * F.cross_entropy(said, batch.labeled.labels))
    torch.testing.assert_close(terms["distillation"], 0.25 * soft_label_kl(said, told, temperature=3.0))
