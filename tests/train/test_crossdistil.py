import math

import pytest
import torch
from interrupted import continues
from tiny import Tiny

from tutelage.train.crossdistil import Attributes, CrossDistil, Said, begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Diverged

SETTINGS = Optimiser(warmup_steps=1, lr=0.05)


def batch(n=8):
    """The first attribute is a bright left half, the second a bright right one."""
    first, second = torch.arange(n) % 2 == 0, torch.arange(n) % 4 < 2
    images = 0.2 * torch.rand(n, 3, 8, 8)
    images[:, :, :, :4] += 0.7 * first[:, None, None, None]
    images[:, :, :, 4:] += 0.7 * second[:, None, None, None]
    return Attributes(images, first, second)


def said(task, ranking):
    return Said(torch.tensor(task), torch.tensor(ranking), torch.tensor(1.0), torch.tensor(0.0))


def test_the_terms_by_hand():
    """Answers of nothing: ln 2 for the label, the soft label and each pair; the ranking is wrong about the first image
    and set to 0 there, and calibrated as it is."""
    own, other = torch.tensor([True, False]), torch.tensor([True, False])
    terms = CrossDistil(alpha=0.25).loss(said([0.0, 0.0], [-1.0, -1.0]), own, other)
    assert terms["task"].item() == pytest.approx(0.75 * math.log(2))
    assert terms["distillation"].item() == pytest.approx(0.25 * math.log(2))
    assert terms["ranking"].item() == pytest.approx(math.log(2))
    assert terms["calibration"].item() == pytest.approx((math.log(1 + math.e) + math.log(1 + 1 / math.e)) / 2)


def test_a_task_learns_from_its_ranking_and_the_ranking_not_from_the_task():
    task, ranking = torch.zeros(4, requires_grad=True), torch.tensor([2.0, 1.0, -1.0, -2.0], requires_grad=True)
    own, other = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    one = Said(task, ranking, torch.tensor(1.0), torch.tensor(0.0))
    CrossDistil().loss(one, own, other)["distillation"].backward()
    assert ranking.grad is None
    assert task.grad[0] < task.grad[1] < 0 < task.grad[2] < task.grad[3]


def test_heads_lie_where_the_student_does():
    run = begin(Tiny(4).to("meta"), SETTINGS)
    assert {p.device.type for p in run.heads.parameters()} == {"meta"}


def test_learns_both_attributes_and_ranks_by_both():
    data, run = batch(16), begin(Tiny(8), SETTINGS)
    steps = list(fit(CrossDistil(), run, [data] * 60, SETTINGS, steps=60))
    run.student.eval()
    first, second = run.heads(run.student(data.images).embedding)
    assert ((first.task > 0) == data.first).all()
    assert ((second.task > 0) == data.second).all()
    assert steps[-1].terms["first_ranking"] < 0.5 * steps[0].terms["first_ranking"]


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path):
    def start():
        torch.manual_seed(1)
        return begin(Tiny(4), SETTINGS)

    continues(start, lambda run, seen: fit(CrossDistil(), run, seen, SETTINGS, steps=4), [batch()] * 4, 2, tmp_path)


def test_a_loss_that_is_not_finite_stops_before_it_changes_anything():
    data, run = batch(), begin(Tiny(4), SETTINGS)
    before = {name: value.clone() for name, value in run.heads.state_dict().items()}
    data.images[0] = torch.nan
    with pytest.raises(Diverged, match="step 1"):
        list(fit(CrossDistil(), run, [data], SETTINGS, steps=1))
    assert all(torch.equal(before[name], value) for name, value in run.heads.state_dict().items())


def test_a_wrong_number_is_refused():
    with pytest.raises(BadInput, match="alpha of CrossDistil"):
        CrossDistil(alpha=1.5)
