import torch
import torch.nn.functional as F

from tutelage.methods.lowres_dfd import LowResDFD, blurred
from tutelage.types import Sizes


def test_areas_are_averaged_and_enlarged():
    image = torch.zeros(1, 3, 4, 4)
    image[..., :2, :2] = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    assert torch.equal(blurred(image, 1), image)
    small = blurred(image, 2)
    assert small.shape == image.shape
    torch.testing.assert_close(small[0, 0, 0], torch.tensor([4.0, 3.0, 1.0, 0.0]))  # 4 and 0, and a quarter way between
    torch.testing.assert_close(blurred(image, 9), torch.ones(1, 3, 4, 4))  # the mean
    assert blurred(torch.rand(0, 3, 4, 4), 2).shape == (0, 3, 4, 4)


def test_one_looks_at_the_large_image_the_other_at_the_small_one(make_nets, batch):
    method = LowResDFD(weight=2.0, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(blurred(images, 2)), nets.teacher(images)
    rows = (nets.extra(student.embedding) - teacher.embedding).square().sum(1)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["feature"], 2 * (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    torch.testing.assert_close(terms["task"], F.cross_entropy(student.logits[:6], batch.labeled.labels))


def test_the_same_image_and_the_same_weights_leave_nothing_to_learn(make_nets, batch):
    for shrink in (1, 2):
        method = LowResDFD(shrink=shrink)
        nets = make_nets(method)
        same = nets._replace(student=nets.teacher, extra=method.init(nets.teacher, nets.teacher, Sizes(6, 8, 3, 10)))
        assert (method.loss(same, batch)["feature"] == 0) == (shrink == 1)
