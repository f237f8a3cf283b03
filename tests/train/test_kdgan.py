import copy
import math

import pytest
import torch
import torch.nn.functional as F
from interrupted import continues
from tiny import Tiny

from tutelage.models.average import Frozen
from tutelage.train.kdgan import KDGAN, begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Diverged

SETTINGS = Optimiser(lr=0.05, warmup_steps=1, momentum=0.0, weight_decay=0.0)
GAME = KDGAN(first=0.0)


def start(method=GAME, teacher=6):
    torch.manual_seed(3)
    student, critic = Tiny(4), Tiny(4)
    torch.manual_seed(teacher)
    return begin(student, Frozen(Tiny(6)), critic, SETTINGS)


def state(run, part):
    return copy.deepcopy(getattr(run, part).state_dict())


def test_what_one_learns_from_the_other_by_hand():
    ours, other, labels = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2])
    torch.testing.assert_close(KDGAN(distil="mimic").from_other(ours, other, labels), torch.tensor(2.5))
    wrong = math.log(2 + math.exp(3)) - 3
    found = KDGAN(soft=0.25).from_other(ours, other, labels)
    torch.testing.assert_close(found, torch.tensor(0.75 * wrong + 0.25 * 5 / 3))


def test_drawn_labels_become_one_hot_with_the_students_chances():
    method, chances = KDGAN(), torch.tensor([0.2, 0.5, 0.3])
    assert (method.heat(0.0), method.heat(1.0)) == (10.0, pytest.approx(0.1))
    assert method.heat(0.5) == pytest.approx(1.0)
    assert method.heat(2.0) == method.heat(1.0)  # a run may go on beyond its steps
    drawn = F.gumbel_softmax(chances.log().expand(20_000, 3), tau=1e-4)
    assert (drawn.max(-1).values > 0.999).float().mean() > 0.999
    torch.testing.assert_close(drawn.mean(0), chances, atol=0.015, rtol=0)


def test_a_student_that_is_asked_for_nothing_stays(batch):
    """Parameters; the statistics of its batch norm follow its images."""
    method = KDGAN(first=0.0, share=0.0, student=0.0, teacher=0.0)
    run = start(method)
    before = [p.detach().clone() for p in run.student.parameters()]
    list(fit(method, run, [batch] * 2, SETTINGS, steps=4))
    torch.testing.assert_close([p.detach() for p in run.student.parameters()], before, rtol=0, atol=0)


def test_a_student_that_does_not_listen_to_its_teacher_is_the_same_beside_any(batch):
    method = KDGAN(first=0.0, share=1.0, student=0.0)
    runs = [start(method, teacher=seed) for seed in (6, 7)]
    for run in runs:
        torch.manual_seed(1)
        list(fit(method, run, [batch] * 2, SETTINGS, steps=4))
    torch.testing.assert_close(state(runs[0], "student"), state(runs[1], "student"), rtol=0, atol=0)
    assert any((p != q).any() for p, q in zip(runs[0].teacher.parameters(), runs[1].teacher.parameters(), strict=True))


def test_all_three_move_and_the_file_of_the_teacher_keeps_what_it_was(batch):
    run = start()
    before = {part: state(run, part) for part in ("student", "teacher", "critic")}
    (step,) = fit(GAME, run, [batch], SETTINGS, steps=4)
    assert all(term.isfinite() for term in step.terms.values())
    for part, then in before.items():
        assert any((now != then[name]).any() for name, now in getattr(run, part).state_dict().items()), part
    given = Tiny(6)
    kept = copy.deepcopy(given.state_dict())
    run = begin(Tiny(4), given, Tiny(4), SETTINGS)
    list(fit(GAME, run, [batch], SETTINGS, steps=4))
    torch.testing.assert_close(given.state_dict(), kept, rtol=0, atol=0)


def test_the_critic_learns_which_labels_are_true(batch):
    """With a student and a teacher that stand still, the value of the game rises."""
    method = KDGAN(first=0.0, teacher_lr=0.0)
    run = start(method)
    run.student_optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.0)
    lost = [step.terms["critic"].item() for step in fit(method, run, [batch] * 30, SETTINGS, steps=30)]
    assert min(lost) > 0  # minus a sum of logarithms of chances
    assert sum(lost[-5:]) < sum(lost[:5])


def test_labels_alone_come_first(batch):
    method, seen = KDGAN(first=0.5), []
    run = start(method)
    critic = state(run, "critic")
    for step in fit(method, run, [batch] * 4, SETTINGS, steps=4):
        seen.append(set(step.terms))
        if step.number == 2:
            torch.testing.assert_close(state(run, "critic"), critic, rtol=0, atol=0)
    game = {"critic", "fooling", "distillation", "teacher_fooling", "teacher_distillation"}
    assert seen == [{"task"}] * 2 + [game] * 2


def test_cut_and_continued_is_bit_equal_to_never_cut(batch, tmp_path):
    method = KDGAN(first=0.2)
    continues(
        lambda: start(method), lambda run, seen: fit(method, run, seen, SETTINGS, steps=6), [batch] * 6, 3, tmp_path
    )


def test_what_is_not_a_number_stops_it(batch):
    bad = batch._replace(labeled=batch.labeled._replace(strong=batch.labeled.strong * math.nan))
    with pytest.raises(Diverged, match="step 1"):
        list(fit(GAME, start(), [bad], SETTINGS, steps=4))


@pytest.mark.parametrize("field", ["share", "student", "soft", "hottest", "coldest", "first", "teacher_lr"])
def test_numbers_out_of_range_are_refused(field):
    with pytest.raises(BadInput, match=rf"{field} of KDGAN is -0.1: it must be"):
        KDGAN(**{field: -0.1})
