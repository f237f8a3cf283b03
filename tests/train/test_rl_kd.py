import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from interrupted import continues
from tiny import Tiny, bright

from tutelage.losses.ensembles import mean_answer
from tutelage.models.average import Frozen
from tutelage.models.committee import Committee, each_said
from tutelage.train.lessons import Lesson
from tutelage.train.rl_kd import RLKD, begin, fit, rewards, states
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Diverged

SETTINGS = Optimiser(lr=0.05, warmup_steps=1)
BOTH = RLKD(alone=0.0, policy=0.0)


@pytest.fixture
def lessons():
    torch.manual_seed(2)
    return [Lesson(bright(12), bright(9)) for _ in range(10)]


def start(method=BOTH, settings=SETTINGS):
    torch.manual_seed(1)
    return begin(method, Tiny(4), Committee([Tiny(6), Tiny(3), Tiny(4)]), classes=3, settings=settings)


def test_hearing_all_is_the_mean_of_the_teachers(lessons):
    method = RLKD(alpha=0.6, temperature=2.0)
    student, teachers, labels = torch.randn(5, 3, requires_grad=True), torch.randn(4, 5, 3), torch.arange(5) % 3
    hard, soft = method.rows(student, teachers, labels, torch.ones(5, 4))
    (ours,) = torch.autograd.grad((hard + soft).sum(), student)
    wanted = (mean_answer(teachers, temperature=2.0) / 2).softmax(-1)
    loss = 0.4 * F.cross_entropy(student, labels, reduction="sum")
    loss = loss + 0.6 * 4 * F.cross_entropy(student / 2, wanted, reduction="sum")
    torch.testing.assert_close(ours, torch.autograd.grad(loss, student)[0])


def test_where_none_is_picked_the_label_is_all(lessons):
    student, labels = torch.randn(2, 3), torch.tensor([0, 2])
    hard, soft = RLKD().rows(student, torch.randn(4, 2, 3), labels, torch.tensor([[0.0] * 4, [1.0] * 4]))
    wrong = F.cross_entropy(student, labels, reduction="none")
    torch.testing.assert_close(hard, wrong * torch.tensor([1.0, 0.5]))
    assert soft[0] == 0
    assert soft[1] > 0


def test_a_state_is_what_is_seen_and_what_a_teacher_says(lessons):
    teacher = Frozen(Committee([Tiny(6), Tiny(3)]))
    images, _, labels = lessons[0].train
    told = teacher(images)
    state = states(told, labels)
    assert state.shape == (2, 12, 12 + 3 + 1)
    torch.testing.assert_close(state[1, :, :12], told.embedding)
    torch.testing.assert_close(state[1, :, 12:15], told.members[1].logits.softmax(-1))
    torch.testing.assert_close(state[1, :, 15], F.cross_entropy(told.members[1].logits, labels, reduction="none"))


def test_rewards_by_hand(lessons):
    run, lesson = start(), lessons[0]
    teachers, heard = each_said(run.teacher(lesson.train.strong)), torch.ones(12, 3)
    said = run.student.eval()(lesson.train.strong).logits.detach()
    wrong = F.cross_entropy(said, lesson.train.labels, reduction="none")
    soft = F.cross_entropy(said, teachers.softmax(-1).mean(0), reduction="none")
    quiz = run.student(lesson.quiz.weak).logits
    right = (quiz.argmax(-1) == lesson.quiz.labels).float().mean()
    asked = (run.student, lesson, teachers, heard)
    torch.testing.assert_close(rewards(RLKD(reward="label"), *asked), -wrong)
    torch.testing.assert_close(rewards(RLKD(reward="loss"), *asked), -wrong - soft)
    torch.testing.assert_close(rewards(RLKD(share=0.25), *asked), 0.25 * (-wrong - soft) + 0.75 * right)


@pytest.mark.parametrize("reward", ["loss", "quiz"])
def test_silence_earns_what_hearing_all_would(lessons, reward):
    run, lesson = start(), lessons[0]
    teachers, silent = each_said(run.teacher(lesson.train.strong)), torch.zeros(12, 3)
    silent[1, 2] = 1.0
    one, all_ = (rewards(RLKD(reward=reward), run.student, lesson, teachers, x) for x in (silent, torch.ones(12, 3)))
    torch.testing.assert_close(one[[0, 2]], all_[[0, 2]])
    assert one[1] != all_[1]


def test_stages(lessons):
    method, run, seen = RLKD(alone=0.3, policy=0.2), start(), []
    policy, student = copy.deepcopy(run.policy.state_dict()), None
    for step in fit(method, run, lessons, SETTINGS, steps=10):
        seen.append(tuple(step.terms))
        if step.number == 3:
            torch.testing.assert_close(dict(run.policy.state_dict()), dict(policy), equal_nan=True, rtol=0, atol=0)
            student = copy.deepcopy(run.student.state_dict())
        if step.number == 5:
            torch.testing.assert_close(run.student.state_dict(), student, rtol=0, atol=0)
            assert run.policy.weight.any()
    alone, rule = ("task", "distillation"), ("policy", "reward", "heard")
    assert seen == [alone] * 3 + [rule] * 2 + [alone + rule] * 5
    assert any((run.student.state_dict()[name] != student[name]).any() for name in student)


def test_a_teacher_that_does_harm_is_picked_less(lessons):
    """One teacher is always wrong. What is heard of it lowers the reward, so the policy leaves it out."""

    class Says(Tiny):
        def __init__(self, shift):
            super().__init__(3)
            self.shift = shift

        def forward(self, images):
            said = super().forward(images)
            label = (images.mean((1, 2, 3)) * 3 + 0.35).floor().long().clamp(0, 2)
            return replace(said, logits=8.0 * F.one_hot((label + self.shift) % 3, 3).float())

    method = RLKD(alone=0.0, policy=1.0, reward="loss", policy_lr=0.1)
    torch.manual_seed(1)
    student = Tiny(4)
    right = Says(0)
    images, labels = lessons[0].train.strong, lessons[0].train.labels
    assert (right(images).logits.argmax(-1) == labels).all()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(student(images).logits, labels).backward()
        optimizer.step()
    run = begin(method, student, Committee([right, Says(1)]), classes=3, settings=SETTINGS)
    list(fit(method, run, lessons * 4, SETTINGS, steps=40))
    chances = run.policy(states(run.teacher(images), labels)).sigmoid().mean(0)
    assert chances[1] < 0.3
    assert chances[0] > chances[1] + 0.2


def test_cut_and_continued_is_bit_equal_to_never_cut(lessons, tmp_path):
    method = RLKD(alone=0.2, policy=0.1)
    continues(lambda: start(method), lambda run, seen: fit(method, run, seen, SETTINGS, steps=10), lessons, 4, tmp_path)


def test_what_is_not_a_number_stops_it(lessons):
    bad = lessons[0]._replace(train=lessons[0].train._replace(strong=lessons[0].train.strong * math.nan))
    with pytest.raises(Diverged, match="step 1"):
        list(fit(RLKD(alone=1.0), start(), [bad], SETTINGS, steps=10))


@pytest.mark.parametrize("field", ["alpha", "share", "alone", "policy", "baseline", "temperature", "policy_lr"])
def test_numbers_out_of_range_are_refused(field):
    with pytest.raises(BadInput, match=rf"{field} of RLKD is -0.1: it must be"):
        RLKD(**{field: -0.1})
