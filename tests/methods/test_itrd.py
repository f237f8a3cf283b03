import math

import torch
from torch import nn

from tutelage.methods.itrd import ITRD


def test_agreement_is_below_zero(echoing, say, saying):
    x = torch.randn(8, 3)
    method = ITRD(correlation=2.0, information=3.0)
    nets = echoing(method)
    nn.init.eye_(nets.extra.weight)
    nn.init.zeros_(nets.extra.bias)
    terms = method.loss(nets, saying(strong=say(x, x), labels=[0] * 8))
    wanted = 2 * (math.log2(3) - 3 * math.log2(8))
    torch.testing.assert_close(terms["correlation"], torch.tensor(wanted), atol=1e-3, rtol=0)
    rows = x / x.norm(dim=1, keepdim=True)
    squares = (rows @ rows.T).square()
    torch.testing.assert_close(terms["information"], 3 * (squares - squares.square()).mean(), atol=1e-5, rtol=0)


def test_the_student_is_the_one_that_relates_too_much(echoing, say, saying):
    """Two images of one direction to the student, at 60 degrees to the teacher: (4 - 2 - 2 / 4) / 4; else 0."""
    same, apart = [[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]], [[2.0, 0.0, 0.0], [1.0, math.sqrt(3), 0.0]]
    method = ITRD(information=1.0)
    nets = echoing(method)
    nn.init.eye_(nets.extra.weight)
    nn.init.zeros_(nets.extra.bias)
    for student, teacher, value in ((same, apart, 0.375), (apart, same, 0.0)):
        loss = method.loss(nets, saying(strong=say(student, teacher), labels=[0, 1]))["information"]
        torch.testing.assert_close(loss, torch.tensor(value), atol=1e-6, rtol=0)


def test_there_is_an_embedding_also_for_equal_widths(make_nets, echoing):
    assert make_nets(ITRD()).extra.weight.shape == (12, 8)
    assert echoing(ITRD()).extra.weight.shape == (3, 3)
