import copy

import torch

from tutelage.data.corruptions import corrupted
from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.ts_da_parallel import TSDAParallel
from tutelage.models.average import Frozen
from tutelage.types import Nets


def test_a_copy_on_equal_images_has_nothing_to_learn(make_nets, batch):
    method = TSDAParallel(strength=0.0)
    nets = make_nets(method)
    student = copy.deepcopy(nets.student).eval()
    pair = Nets(student, Frozen(student), nets.extra)
    torch.testing.assert_close(method.loss(pair, batch)["distillation"], torch.tensor(0.0), atol=1e-6, rtol=0)


def test_the_teacher_sees_the_source_and_the_student_its_corruption(make_nets, batch):
    method = TSDAParallel(corruption="fog", strength=0.5, temperature=2.0)
    nets = make_nets(method)
    nets.student.eval()
    source = torch.cat([batch.labeled.weak, batch.labeled.strong])
    said = nets.student(corrupted(source, "fog", strength=0.5)).logits
    expected = soft_label_kl(said, nets.teacher(source).logits, temperature=2.0)
    torch.testing.assert_close(method.loss(nets, batch)["distillation"], expected)


def test_labels_are_not_read(make_nets, batch):
    method = TSDAParallel(corruption="night")
    nets = make_nets(method)
    nets.student.eval()
    other = batch._replace(labeled=batch.labeled._replace(labels=batch.labeled.labels.flip(0)))
    assert method.loss(nets, batch) == method.loss(nets, other)
