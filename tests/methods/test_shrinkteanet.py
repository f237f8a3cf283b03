import torch
import torch.nn.functional as F

from tutelage.methods.shrinkteanet import ShrinkTeaNet
from tutelage.types import Sizes


def test_labels_last_embedding_and_every_stage(make_nets, batch):
    method = ShrinkTeaNet(label=0.5, weight=2.0, stages=3.0, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval(), nets.extra.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images), nets.teacher(images)

    def mean(one, other):
        rows = (1 - torch.cosine_similarity(one, other, dim=1)) ** 2
        return (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10

    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["task"], 0.5 * F.cross_entropy(student.logits[:6], batch.labeled.labels))
    torch.testing.assert_close(terms["angle"], 2 * mean(nets.extra.last(student.embedding), teacher.embedding))
    stages = [
        mean(net(student.features[name]).mean((2, 3)), teacher.features[name].mean((2, 3)))
        for net, name in zip(nets.extra.between.nets, ("stage1", "stage2"), strict=True)
    ]
    torch.testing.assert_close(terms["stages"], 3 * sum(stages))


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(make_nets, batch):
    method = ShrinkTeaNet()
    nets = make_nets(method)
    extra = method.init(nets.teacher, nets.teacher, Sizes(6, 8, 3, 10))
    terms = method.loss(nets._replace(student=nets.teacher, extra=extra), batch)
    torch.testing.assert_close(terms["angle"] + terms["stages"], torch.tensor(0.0), atol=1e-6, rtol=0)
