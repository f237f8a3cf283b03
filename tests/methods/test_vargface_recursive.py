import torch
import torch.nn.functional as F

from tutelage.losses.angles import arcface_logits
from tutelage.methods.shrinkteanet import ShrinkTeaNet
from tutelage.methods.vargface_recursive import VarGFaceRecursive


def test_three_terms(make_nets, batch):
    method = VarGFaceRecursive(weight=2.0, arcface=3.0, scale=8.0, margin=0.3, label=0.5, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval()
    images, labels = torch.cat([batch.labeled.strong, batch.unlabeled.strong]), batch.labeled.labels
    student, teacher = nets.student(images), nets.teacher(images)
    rows = (1 - torch.cosine_similarity(nets.extra.projection(student.embedding), teacher.embedding)) ** 2
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["angle"], 2 * (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    torch.testing.assert_close(terms["task"], 0.5 * F.cross_entropy(student.logits[:6], labels))
    apart = arcface_logits(student.embedding[:6], nets.extra.centres, labels, scale=8.0, margin=0.3)
    torch.testing.assert_close(terms["margin"], 3 * F.cross_entropy(apart, labels))


def test_without_its_margin_a_generation_is_shrinkteanet_without_stages(make_nets, batch):
    method, other = VarGFaceRecursive(arcface=0.0), ShrinkTeaNet(stages=0.0)
    nets, others = make_nets(method), make_nets(other)
    nets.student.load_state_dict(others.student.state_dict())
    nets.extra.projection.load_state_dict(others.extra.last.state_dict())
    one, two = method.loss(nets._replace(teacher=others.teacher), batch), other.loss(others, batch)
    torch.testing.assert_close(sum(one.values()), sum(two.values()))
