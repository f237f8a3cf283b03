import math

import pytest
import torch

from tutelage.methods.cckd import CCKD

STUDENT, TEACHER = [[1.0, 0.0, 0.0], [1.0, math.sqrt(3), 0.0]], [[2.0, 0.0, 0.0], [0.0, 5.0, 0.0]]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("bilinear", 2 * 0.5**2 / 4),  # cosines 1/2 and 0
        ("gaussian", 2 * (0.665007 - math.exp(-0.8)) ** 2 / 4),
        ("neighbours", 1.0 * 1.0 + 0.0 * (5 - math.sqrt(3))),  # |-1| |1| + |0| |sqrt 3 - 5|, of one pair
    ],
)
def test_values(echoing, say, saying, form, value):
    method = CCKD(form=form, weight=1.0)
    terms = method.loss(echoing(method), saying(strong=say(STUDENT, TEACHER), labels=[0, 1]))
    torch.testing.assert_close(terms["congruence"], torch.tensor(value), atol=1e-6, rtol=0)


def test_labels_and_soft_labels_share_what_is_left(echoing, say, saying):
    method = CCKD(alpha=0.25, temperature=1.0)
    batch = saying(strong=say([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), labels=[2])
    terms = method.loss(echoing(method), batch)
    torch.testing.assert_close(terms["task"], torch.tensor(0.25 * 0.407606), atol=1e-6, rtol=0)
    torch.testing.assert_close(terms["distillation"], torch.tensor(0.75 * 0.308994), atol=1e-6, rtol=0)


def test_the_student_is_brought_to_the_teachers_width(make_nets, batch):
    method = CCKD()
    nets = make_nets(method)
    assert [p.shape for p in nets.extra.parameters()] == [(12, 8)]
    sum(method.loss(nets, batch).values()).backward()
    assert nets.extra.net.weight.grad.any()
