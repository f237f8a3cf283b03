import math

import torch

from tutelage.data.patches import GREY
from tutelage.methods.mic import MIC

SURE, DOUBT = [0.0, math.log(8), 0.0], [0.0, math.log(2), 0.0]  # of class 1: 8/10 and 2/4


def test_each_image_counts_as_much_as_the_teacher_is_sure(echoing, saying):
    """Both are taken for class 1: -log softmax([1, 2, 3])[1] is 1.407606."""
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=[[1.0, 2.0, 3.0]] * 2, pool_weak=[SURE, DOUBT])
    for confidence, trust in ((0.0, (0.8 + 0.5) / 2), (0.6, 0.8 / 2)):
        method = MIC(weight=3.0, ratio=0.0, unsupervised=0.5, confidence=confidence)
        expected = torch.tensor(0.5 * 3.0 * trust * 1.407606)
        torch.testing.assert_close(method.loss(echoing(method), batch)["masked"], expected)


def test_labels_teach_by_two_views_and_what_was_written_before_by_one(echoing, saying):
    method = MIC(strong=0.25, pseudo=0.5, unsupervised=0.5, ratio=0.0)
    batch = saying(strong=[[1.0, 2.0, 3.0]], labels=[0], pool_strong=[[1.0, 2.0, 3.0]] * 2,
                   target=[[0.0, 1.0, 0.0]] * 2, weight=[0.8, 0.0])  # fmt: skip
    terms = method.loss(echoing(method), batch)
    torch.testing.assert_close(terms["task"], torch.tensor(0.75 * math.log(3) + 0.25 * 2.407606))
    torch.testing.assert_close(terms["pseudo"], torch.tensor(0.5 * 0.5 * 0.8 * 1.407606 / 2))


def test_the_student_sees_the_strong_view_with_squares_hidden_and_the_teacher_the_whole_weak_one(make_nets, batch):
    method = MIC(block=0.5, ratio=0.5)
    nets, seen = make_nets(method), {}
    nets.student.register_forward_hook(lambda net, args, out: seen.update(student=args[0]))
    nets.teacher.register_forward_hook(lambda net, args, out: seen.update(teacher=args[0]))
    method.loss(nets, batch)
    pool = seen["student"][-8:]
    hidden = pool == GREY
    assert 0.2 < hidden.float().mean() < 0.8
    assert (pool[~hidden] == batch.unlabeled.strong[~hidden]).all()
    assert (hidden[:, 0, :4, :4].flatten(1).float().mean(1) % 1 == 0).all()
    torch.testing.assert_close(seen["teacher"][-8:], batch.unlabeled.weak)


def test_the_teacher_is_a_moving_average(make_nets):
    method = MIC(decay=0.9)
    nets = make_nets(method)
    with torch.no_grad():
        nets.student.head.bias.add_(1.0)
    before = nets.teacher.net.head.bias.clone()
    method.after_step(nets, 100)
    torch.testing.assert_close(nets.teacher.net.head.bias - before, torch.full((3,), 0.1), atol=1e-6, rtol=0)
