import copy
import math

import pytest
import torch
from interrupted import continues
from torch import nn

from tutelage.methods.kd import KD
from tutelage.train.lessons import Lesson
from tutelage.train.metadistil import MetaDistil, begin, fit, meta_gradient
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Diverged, Labeled, Network, Outputs

SETTINGS = Optimiser(lr=0.1, warmup_steps=2)


class Two(Network):
    """Two parameters, two classes: logits are the first two pixels, each times its parameter."""

    def __init__(self, *start):
        super().__init__()
        self.widths, self.embedding_width = {}, 2
        self.weight = nn.Parameter(torch.tensor(start, dtype=torch.double))

    def forward(self, images):
        logits = self.weight * images[:, 0, 0]
        return Outputs(logits, logits, {})


def labeled(n, dtype=torch.float, size=8):
    views = torch.randn(2, n, 3, size, size, dtype=dtype)
    return Labeled(views[0], views[1], torch.arange(n) % 2)


@pytest.fixture
def pair(make_nets):
    torch.manual_seed(1)
    nets = make_nets(KD())
    return nets.student, nets.teacher


@pytest.fixture
def lessons():
    torch.manual_seed(2)
    return [Lesson(labeled(6), labeled(4)) for _ in range(10)]


def state(run):
    return copy.deepcopy([run.student.state_dict(), run.teacher.state_dict()])


def test_the_meta_gradient_is_the_slope_of_the_quiz():
    """Central differences over the two parameters of the teacher."""
    lesson = Lesson(labeled(5, torch.double, 2), labeled(7, torch.double, 2))
    method, student = MetaDistil(alpha=0.7, temperature=2.0), Two(0.3, -0.8)

    def quiz(*teacher):
        return meta_gradient(method, student, Two(*teacher), lesson, assumed_lr=0.9)

    _, (gradient,) = quiz(1.5, -0.4)
    step = 1e-5
    by_differences = [
        (quiz(1.5 + step, -0.4)[0] - quiz(1.5 - step, -0.4)[0]) / (2 * step),
        (quiz(1.5, -0.4 + step)[0] - quiz(1.5, -0.4 - step)[0]) / (2 * step),
    ]
    torch.testing.assert_close(gradient, torch.stack(by_differences), rtol=1e-6, atol=1e-9)
    assert gradient.abs().min() > 1e-4


def test_the_quiz_is_taken_after_one_plain_step_on_kd():
    lesson = Lesson(labeled(5, torch.double, 2), labeled(7, torch.double, 2))
    method, student, teacher = MetaDistil(alpha=0.7, temperature=2.0), Two(0.3, -0.8), Two(1.5, -0.4)
    moved = copy.deepcopy(student)
    optimizer = torch.optim.SGD(moved.parameters(), lr=0.9)
    said, told = moved(lesson.train.strong).logits, teacher(lesson.train.strong).logits.detach()
    kl = ((told / 2).softmax(-1) * ((told / 2).log_softmax(-1) - (said / 2).log_softmax(-1))).sum(-1).mean()
    (0.7 * 4 * kl + 0.3 * nn.functional.cross_entropy(said, lesson.train.labels)).backward()
    optimizer.step()
    expected = nn.functional.cross_entropy(moved(lesson.quiz.weak).logits, lesson.quiz.labels)
    quiz, _ = meta_gradient(method, student, teacher, lesson, assumed_lr=0.9)
    torch.testing.assert_close(quiz, expected.detach())


def test_a_teacher_that_is_not_heard_has_no_slope(pair, lessons):
    student, teacher = pair
    learning = begin(student, teacher, SETTINGS).teacher
    _, gradients = meta_gradient(MetaDistil(alpha=0.0), student, learning, lessons[0], assumed_lr=0.05)
    assert not any(gradient.any() for gradient in gradients)
    _, gradients = meta_gradient(MetaDistil(), student, learning, lessons[0], assumed_lr=0.05)
    assert all(gradient.any() for gradient in gradients)


def test_assuming_a_step_moves_nothing(pair, lessons):
    run = begin(*pair, SETTINGS)
    run.student.train()
    before = state(run)
    meta_gradient(MetaDistil(), run.student, run.teacher, lessons[0], assumed_lr=0.05)
    torch.testing.assert_close(state(run), before, rtol=0, atol=0)
    assert all(p.grad is None for net in (run.student, run.teacher) for p in net.parameters())


def test_a_step_of_the_teacher_makes_the_quiz_easier(pair, lessons):
    run, method = begin(*pair, SETTINGS), MetaDistil()
    run.student.train()
    before, gradients = meta_gradient(method, run.student, run.teacher, lessons[0], assumed_lr=0.5)
    with torch.no_grad():
        for parameter, gradient in zip(run.teacher.parameters(), gradients, strict=True):
            parameter -= 0.01 * gradient
    after, _ = meta_gradient(method, run.student, run.teacher, lessons[0], assumed_lr=0.5)
    assert after < before


def test_the_teacher_goes_down_the_slope(pair, lessons):
    plain = Optimiser(warmup_steps=1, momentum=0.0, weight_decay=0.0)
    method, run = MetaDistil(teacher_lr=0.2), begin(*pair, plain)
    before = [p.detach().clone() for p in run.teacher.parameters()]
    run.student.train()
    _, slopes = meta_gradient(method, run.student, run.teacher, lessons[0], assumed_lr=0.05)
    next(fit(method, run, lessons, plain, steps=10))
    expected = [then - 0.2 * slope for then, slope in zip(before, slopes, strict=True)]
    torch.testing.assert_close([p.detach() for p in run.teacher.parameters()], expected)


def test_cut_and_continued_is_bit_equal_to_never_cut(pair, lessons, tmp_path):
    method = MetaDistil(wait=0.2)
    continues(
        lambda: begin(*copy.deepcopy(pair), SETTINGS), lambda run, seen: fit(method, run, seen, SETTINGS, steps=10),
        lessons, 4, tmp_path,
    )  # fmt: skip


def test_a_teacher_that_does_not_learn_makes_it_kd(pair, lessons):
    student, teacher = pair
    plain = copy.deepcopy(student).train()
    run = begin(student, teacher, Optimiser(lr=0.1, warmup_steps=1, momentum=0.0, weight_decay=0.0))
    list(fit(MetaDistil(teacher_lr=0.0), run, lessons[:1], SETTINGS, steps=10))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)  # first of two warm-up steps
    images, labels = lessons[0].train.strong, lessons[0].train.labels
    said, told = plain(images).logits, teacher(images).logits
    kl = ((told / 4).softmax(-1) * ((told / 4).log_softmax(-1) - (said / 4).log_softmax(-1))).sum(-1).mean()
    (0.9 * 16 * kl + 0.1 * nn.functional.cross_entropy(said, labels)).backward()
    optimizer.step()
    torch.testing.assert_close(dict(run.student.state_dict()), dict(plain.state_dict()))


def test_the_student_is_taught_by_the_moved_teacher(pair, lessons):
    """The ordinary step comes after the teacher's, so it already sees what the teacher has learned."""
    run, still = begin(*copy.deepcopy(pair), SETTINGS), begin(*copy.deepcopy(pair), SETTINGS)
    moved = next(fit(MetaDistil(teacher_lr=5.0), run, lessons, SETTINGS, steps=10))
    unmoved = next(fit(MetaDistil(teacher_lr=0.0), still, lessons, SETTINGS, steps=10))
    assert moved.terms["quiz"] == unmoved.terms["quiz"]
    assert moved.terms["distillation"] != unmoved.terms["distillation"]


def test_the_teacher_waits_and_its_file_keeps_what_it_was(pair, lessons):
    given = copy.deepcopy(pair[1].state_dict())
    run = begin(*pair, SETTINGS)
    start = copy.deepcopy(run.teacher.state_dict())
    heard = []
    for step in fit(MetaDistil(wait=0.5), run, lessons, SETTINGS, steps=10):
        heard.append("quiz" in step.terms)
        same = all(
            torch.equal(now, then) for now, then in zip(run.teacher.state_dict().values(), start.values(), strict=True)
        )
        assert same == (step.number <= 5)
    assert heard == [False] * 5 + [True] * 5
    torch.testing.assert_close(pair[1].state_dict(), given, rtol=0, atol=0)


def test_quiz_images_are_never_trained_on(pair, lessons):
    """With a teacher that stays, another quiz is the same student."""
    first, second = (begin(*copy.deepcopy(pair), SETTINGS) for _ in range(2))
    method = MetaDistil(teacher_lr=0.0)
    list(fit(method, first, lessons, SETTINGS, steps=10))
    list(fit(method, second, [x._replace(quiz=labeled(4)) for x in lessons], SETTINGS, steps=10))
    torch.testing.assert_close(first.student.state_dict(), second.student.state_dict(), rtol=0, atol=0)


def test_pixels_may_come_as_bytes(pair):
    lesson = Lesson(
        *(
            part._replace(weak=(part.weak * 50).byte(), strong=(part.strong * 50).byte())
            for part in (labeled(6), labeled(4))
        )
    )
    assert next(fit(MetaDistil(), begin(*pair, SETTINGS), [lesson], SETTINGS, steps=10)).terms["quiz"].isfinite()


def test_a_loss_that_is_not_a_number_stops_it(pair, lessons):
    bad = lessons[0]._replace(quiz=lessons[0].quiz._replace(weak=lessons[0].quiz.weak * math.nan))
    run = begin(*pair, SETTINGS)
    before = state(run)
    with pytest.raises(Diverged, match=r"step 1 \(quiz nan\).*Lower the learning rates"):
        list(fit(MetaDistil(), run, [bad], SETTINGS, steps=10))
    torch.testing.assert_close(state(run), before, rtol=0, atol=0)


@pytest.mark.parametrize("field", ["alpha", "wait", "temperature", "assumed_lr", "teacher_lr"])
def test_numbers_out_of_range_are_refused(field):
    with pytest.raises(BadInput, match=rf"{field} of MetaDistil is -0.1: it must be"):
        MetaDistil(**{field: -0.1})
