import math

import pytest
import torch
from multi_fixtures import SIZE, multi_batch, multi_net, multi_nets, truth
from torch import nn

from tutelage.methods.multitask.balance import Scales, gradient_norms, normalised, uncertain
from tutelage.methods.multitask.method import depth_loss
from tutelage.methods.multitask.must import MuST
from tutelage.types import IGNORE, TASKS, BadInput


@pytest.fixture(scope="module")
def plain():
    """A network in eval mode, a batch, and what MuST says of them with every weight 1."""
    torch.manual_seed(0)
    net, batch = multi_net().eval(), multi_batch()
    return net, batch, MuST().loss(multi_nets(MuST(), net), batch)


def test_the_loss_is_the_exact_weighted_sum(plain):
    net, batch, ones = plain
    method = MuST(classification=2.0, detection=0.5, segmentation=3.0, depth=0.25, unsupervised=0.1)
    terms = method.loss(multi_nets(method, net), batch)
    for task in TASKS:
        factor = getattr(method, task)
        torch.testing.assert_close(terms[task], factor * ones[task])
        torch.testing.assert_close(terms[f"pool_{task}"], 0.1 * factor * ones[f"pool_{task}"])
    assert terms["balance"] == 0


@pytest.mark.parametrize("gone", TASKS)
def test_a_teacher_less_is_a_term_less_and_no_other(plain, gone):
    net, batch, ones = plain
    poor = multi_batch(**{gone: []}).pool.truth
    quiet = batch._replace(pool=batch.pool._replace(truth=batch.pool.truth._replace(**{gone: getattr(poor, gone)})))
    terms = MuST().loss(multi_nets(MuST(), net), quiet)
    assert {name for name in terms if terms[name] != ones[name]} == {f"pool_{gone}"}
    assert terms[f"pool_{gone}"] == 0


def test_ignored_pixels_give_zero(plain):
    net, batch, _ = plain
    segments = batch.labeled.truth.segmentation
    nothing = segments._replace(target=torch.full_like(segments.target, IGNORE))
    blind = batch._replace(labeled=batch.labeled._replace(truth=batch.labeled.truth._replace(segmentation=nothing)))
    assert MuST().loss(multi_nets(MuST(), net), blind)["segmentation"] == 0


def test_uncertainty_by_hand():
    """A loss of 2 at ln sigma^2 = ln 4: a class 2 / 4 + ln 2, a depth 2 / 8 + ln 2."""
    losses = {"classification": torch.tensor(2.0), "depth": torch.tensor(2.0)}
    numbers = {task: torch.tensor(math.log(4.0)) for task in TASKS}
    factors, cost = uncertain(losses, numbers)
    assert {task: round(factor.item(), 6) for task, factor in factors.items()} == {
        "classification": 0.25, "depth": 0.125,
    }  # fmt: skip
    assert cost.item() == pytest.approx(2 * math.log(2.0))


def test_uncertainty_settles_where_sigma_squared_is_twice_the_loss():
    s = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.Adam([s], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        factors, cost = uncertain({"segmentation": torch.tensor(3.0)}, {"segmentation": s})
        (3.0 * factors["segmentation"] + cost).backward()
        optimizer.step()
    assert s.exp().item() == pytest.approx(6.0, rel=1e-2)


def test_gradnorm_by_hand():
    """Norms 1 and 4 at weights 1, so a mean of 2.5. The losses fell to 1/2 and to all of their first: r is 2/3 and 4/3,
    targets 5/3 and 10/3 at alpha 1, apart by 2/3 each; the slopes are -1 and 4."""
    tasks = ("detection", "depth")
    weights = {task: torch.tensor(1.0, requires_grad=True) for task in tasks}
    of = lambda *values: {task: torch.tensor(value) for task, value in zip(tasks, values, strict=True)}  # noqa: E731
    apart = normalised(weights, of(1.0, 4.0), of(1.0, 3.0), of(2.0, 3.0), alpha=1.0)
    assert apart.item() == pytest.approx(4 / 3)
    apart.backward()
    assert [weights[task].grad.item() for task in tasks] == [-1.0, 4.0]


def test_gradient_norms_by_hand():
    maps = [torch.ones(1, 1, 1, 2, requires_grad=True), torch.ones(1, 1, 1, 1, requires_grad=True)]
    losses = {"depth": (3 * maps[0]).sum(), "detection": 5 * maps[1].sum()}
    norms = gradient_norms(losses, maps)
    assert norms["depth"].item() == pytest.approx(math.sqrt(18))
    assert norms["detection"].item() == 5
    assert all(m.grad is None for m in maps)


def test_weights_of_gradnorm_sum_to_the_number_of_tasks():
    scales = Scales(TASKS, "gradnorm")
    scales.learned["depth"].data.fill_(-0.5)
    scales.learned["detection"].data.fill_(5.0)
    scales.rescale()
    values = torch.stack(list(scales.numbers.values()))
    assert values.sum().item() == pytest.approx(4)
    assert (values > 0).all()
    assert [scales.first("depth", torch.tensor(v)).item() for v in (3.0, 2.0)] == [3.0, 3.0]


def test_depth_losses_by_hand():
    """An answer twice too deep everywhere: ln 2, and nothing up to scale and shift."""
    slope = truth([0]).depth
    twice = (2 * slope.target).log()
    assert depth_loss(twice, slope, kind="log").item() == pytest.approx(math.log(2), rel=1e-5)
    assert depth_loss(twice, slope, kind="silog").item() == pytest.approx(math.log(2) ** 2 / 2, rel=1e-4)
    assert depth_loss(twice, slope, kind="affine").item() == pytest.approx(0, abs=1e-5)
    blind = slope._replace(weight=torch.zeros_like(slope.weight))
    assert all(depth_loss(twice, blind, kind=kind) == 0 for kind in ("log", "silog", "affine"))


def test_the_worst_pseudo_depth_is_left_out():
    slope = truth([0]).depth
    said = slope.target.log().clone()
    said[:, 0, : SIZE // 2] += 7  # a part of the first row is far off
    assert depth_loss(said, slope, kind="log") > 0
    assert depth_loss(said, slope, kind="log", drop=0.1).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("fields", [{"depth": -1.0}, {"drop": 1.5}, {"unsupervised": float("inf")}])
def test_a_wrong_number_is_refused(fields):
    with pytest.raises(BadInput, match=f"{next(iter(fields))} of MuST"):
        MuST(**fields)


@pytest.mark.parametrize("balance", ["uncertainty", "gradnorm"])
def test_a_balance_that_is_learned_is_refused_where_processes_are_several(balance):
    """There Accelerate wraps what learns, and lets through nothing but its forward."""
    method = MuST(balance=balance)
    nets = multi_nets(method)
    with pytest.raises(BadInput, match=rf"balance of MuST is '{balance}'.* one process.* 'fixed'"):
        method.loss(nets._replace(extra=nn.Sequential(nets.extra)), multi_batch())
