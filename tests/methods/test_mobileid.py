import torch
import torch.nn.functional as F

from tutelage.methods.mobileid import MobileID
from tutelage.types import Nets, Network, Outputs, Sizes


class Known(Network):
    """A teacher of four neurons: the class, the class again, noise, and nothing; on pool images all are noise."""

    widths, embedding_width = {}, 4

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, images):
        noise = torch.randn(len(images), 4)
        known = self.labels + 0.1 * torch.randn(len(self.labels))
        noise[: len(known)] = torch.stack([known, 3 * known, torch.randn(len(known)), torch.zeros(len(known))], dim=1)
        return Outputs(torch.zeros(len(images), 3), noise, {})


def test_neurons_are_chosen_once_from_labelled_images(make_nets, batch):
    method = MobileID(first=0.5)
    student, teacher = make_nets(method).student, Known(batch.labeled.labels)
    nets = Nets(student, teacher, method.init(student, teacher, Sizes(6, 8, 3, 20)))
    for step in range(1, 21):
        assert (nets.extra.kept == 1).all() == (step <= 10)
        method.loss(nets, batch)
        method.after_step(nets, step)
        assert nets.extra.seen.count.sum() == 6 * min(step, 10)
    assert nets.extra.kept[:2].sum() == 1
    assert nets.extra.kept[2:].tolist() == [1, 0]


def test_neurons_are_chosen_where_the_step_of_the_choice_was_skipped(make_nets, batch):
    method = MobileID(first=0.5)
    student, teacher = make_nets(method).student, Known(batch.labeled.labels)
    nets = Nets(student, teacher, method.init(student, teacher, Sizes(6, 8, 3, 20)))
    for step in (8, 9, 11, 12):  # not 10
        method.loss(nets, batch)
        method.after_step(nets, step)
    assert nets.extra.kept.tolist().count(1.0) == 2


def test_only_chosen_neurons_are_learned_by_a_sum_of_squares(make_nets, batch):
    method = MobileID(weight=2.0, label=0.5, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval()
    nets.extra.kept.copy_(torch.arange(12) % 3 == 0)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images), nets.teacher(images)
    rows = (nets.extra.net(student.embedding) - teacher.embedding)[:, ::3].square().sum(1)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["neurons"], 2 * (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    torch.testing.assert_close(terms["task"], 0.5 * F.cross_entropy(student.logits[:6], batch.labeled.labels))


def test_where_no_neuron_tells_classes_apart_all_are_kept(make_nets, batch):
    method = MobileID(first=0.5)
    nets = make_nets(method, steps=2)
    one_class = batch._replace(labeled=batch.labeled._replace(labels=torch.zeros(6, dtype=torch.long)))
    method.loss(nets, one_class)
    method.after_step(nets, 1)
    assert (nets.extra.kept == 1).all()
