import copy

import pytest
import torch
from torch import nn

from tutelage.methods import METHODS
from tutelage.train.cost import kept_for_backward
from tutelage.train.loop import begin
from tutelage.train.settings import Optimiser
from tutelage.types import Network, Outputs, Sizes


class Line(Network):
    """3 x 2 x 2 pixels to 5 logits by one matrix."""

    def __init__(self):
        super().__init__()
        self.widths, self.embedding_width = {}, 5
        self.head = nn.Linear(12, 5)

    def forward(self, images):
        logits = self.head(images.flatten(1)).exp()
        return Outputs(logits, logits, {})


def run_of(teacher):
    student = Line()
    method = METHODS["kd" if teacher else "supervised"]()
    return begin(method, student, Line() if teacher else None, Sizes(4, 0, 5, 1), Optimiser())


def test_by_hand():
    """Student and average, gradients and momentum: 4 x 65 numbers. For the backward pass 7 images and 7 x 5 answers."""
    run = run_of(teacher=False)
    images = torch.rand(7, 3, 2, 2)
    with kept_for_backward() as memory:
        run.nets.student(images).logits
    assert memory.count(run) == 4 * (4 * 65 + 7 * 12 + 7 * 5)


def test_a_teacher_is_counted_and_what_it_computes_is_not():
    run = run_of(teacher=True)
    with kept_for_backward() as memory:
        run.nets.teacher(torch.rand(7, 3, 2, 2))
    assert memory.count(run) == 4 * 5 * 65


def test_a_piece_of_memory_is_counted_once():
    run = run_of(teacher=False)
    images = torch.rand(7, 3, 2, 2)
    with kept_for_backward() as memory:
        kept = [run.nets.student(images).logits for _ in range(2)]
    assert memory.count(run) == 4 * (4 * 65 + 7 * 12 + 2 * 7 * 5)
    assert len(kept) == 2


def test_weights_that_are_kept_for_the_backward_pass_are_not_counted_twice():
    run = run_of(teacher=False)
    images = torch.rand(7, 3, 2, 2, requires_grad=True)  # their gradient needs the matrix
    with kept_for_backward() as memory:
        kept = run.nets.student(images).logits
    assert memory.count(run) == 4 * (4 * 65 + 7 * 12 + 7 * 5)
    assert kept.requires_grad


def test_numbers_do_not_change():
    one = Line()
    other, images = copy.deepcopy(one), torch.rand(7, 3, 2, 2)
    with kept_for_backward():
        one(images).logits.sum().backward()
    other(images).logits.sum().backward()
    torch.testing.assert_close(one.head.weight.grad, other.head.weight.grad, rtol=0, atol=0)


@pytest.mark.parametrize("larger", [True, False])
def test_more_images_keep_more(larger):
    sizes = []
    for number in (7, 14 if larger else 7):
        run = run_of(teacher=False)
        with kept_for_backward() as memory:
            run.nets.student(torch.rand(number, 3, 2, 2)).logits
        sizes.append(memory.count(run))
    assert (sizes[1] > sizes[0]) is larger
