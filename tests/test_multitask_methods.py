"""What every method of several tasks owes the engine, and that a head learns from nothing but its own labels."""

import copy
import itertools

import pytest
import torch
from multi_fixtures import multi_batch, multi_net, multi_nets

from tutelage.methods.multitask import MULTITASK_METHODS
from tutelage.train import checkpoint
from tutelage.train.device import accelerator
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import TASKS, Sizes

MUST = MULTITASK_METHODS["must"]
ALL = {name: cls() for name, cls in MULTITASK_METHODS.items()} | {
    "must-uncertainty": MUST(balance="uncertainty"),
    "must-gradnorm": MUST(balance="gradnorm"),
    "must-affine": MUST(depth_loss="affine"),
    "must-silog": MUST(depth_loss="silog"),
}
BALANCES = {name: method for name, method in ALL.items() if isinstance(method, MUST) and method.depth_loss == "log"}
every_balance = pytest.mark.parametrize("method", list(BALANCES.values()), ids=list(BALANCES))
every_method = pytest.mark.parametrize("method", list(ALL.values()), ids=list(ALL))
SETTINGS = Optimiser(warmup_steps=1, weight_decay=0.1)
SUBSETS = [tasks for k in range(len(TASKS) + 1) for tasks in itertools.combinations(TASKS, k)]


def total(terms):
    return torch.stack(list(terms.values())).sum()


def run(method, batches, *, student=None, begun=None):
    engine = accelerator(Compute(threads=1, device="cpu", precision="fp32"))
    given = method.teacher == "given"
    student = student or multi_net(("depth",) if given else TASKS)
    begun = (
        begin(method, student, multi_net() if given else None, Sizes(2, 3, 3, 8), SETTINGS) if begun is None else begun
    )
    said = list(fit(method, begun, batches, SETTINGS, steps=8, accelerator=engine))
    assert not any(step.skipped for step in said)
    return begun


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))


@every_method
def test_terms_are_finite_scalars_and_reach_all_that_learns(method):
    nets = multi_nets(method)
    terms = method.loss(nets, multi_batch())
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    total(terms).backward()
    if getattr(method, "first", 0):  # in the first of two stages some weights wait: the second adds its gradient
        method.after_step(nets, 60)
        total(method.loss(nets, multi_batch())).backward()
    every = [*nets.student.named_parameters(), *nets.extra.named_parameters()]
    assert [name for name, p in every if p.grad is None or not p.grad.any()] == []


@every_method
def test_learns_one_batch_by_heart(method):
    nets, batch = multi_nets(method), multi_batch()
    optimizer = torch.optim.Adam([*nets.student.parameters()], lr=1e-2)
    if getattr(method, "first", 0):  # the stage that learns labels
        method.after_step(nets, 60)
    seen = []
    for _ in range(10):
        optimizer.zero_grad()
        terms = method.loss(nets, batch)
        total(terms).backward()
        optimizer.step()
        seen.append(sum(terms[task].item() for task in TASKS if task in terms))
    assert seen[-1] < 0.5 * seen[0]


@every_balance
@pytest.mark.parametrize("absent", TASKS)
def test_a_head_without_labels_does_not_move(method, absent):
    """After a step that gave the optimizer momentum, two without the task: its head stays, bit by bit, decay or not.

    So does what is learned of how much the task counts; GradNorm's weights are only scaled, together.
    """
    torch.manual_seed(3)
    full, poor = multi_batch(), multi_batch(**{absent: []})
    begun = run(method, [full])
    head, others = weights(begun.nets.student.heads[absent]), weights(begun.nets.student.heads)
    learned = weights(begun.nets.extra)
    run(method, [poor, poor], begun=begun)
    assert equal(head, weights(begun.nets.student.heads[absent]))
    for task in TASKS:
        own = {name: value for name, value in others.items() if name.startswith(f"{task}.")}
        still = {name: weights(begun.nets.student.heads)[name] for name in own}
        assert equal(own, still) == (task == absent)
    if method.balance == "uncertainty":
        assert torch.equal(learned[f"learned.{absent}"], begun.nets.extra.learned[absent])


@every_balance
@pytest.mark.parametrize("gone", TASKS)
def test_images_without_a_tasks_labels_say_nothing_to_its_head(method, gone):
    """A head's gradient is the same whether such images are in the batch or not. (Batch norm is still: it would see
    them, as it sees all images.)"""
    nets = multi_nets(method)
    nets.student.eval()
    some = multi_batch(**{gone: [0]})
    fewer = multi_batch(labeled=1, pool=1)
    for one, other in ((some.labeled, fewer.labeled), (some.pool, fewer.pool)):
        other.images.copy_(one.images[:1])

    def gradient(batch):
        # The task's own terms: what learned factors make of them depends on the other tasks.
        terms = method.loss(nets, batch)
        (terms[gone] + terms[f"pool_{gone}"]).backward()
        found = [p.grad.clone() for p in nets.student.heads[gone].parameters()]
        nets.student.zero_grad()
        return found

    for here, there in zip(gradient(some), gradient(fewer), strict=True):
        torch.testing.assert_close(here, there)


@pytest.mark.parametrize("method", [BALANCES["must"], BALANCES["must-gradnorm"]], ids=["fixed", "gradnorm"])
@pytest.mark.parametrize("tasks", SUBSETS, ids=["+".join(each) or "none" for each in SUBSETS])
def test_any_subset_of_labels_trains_and_has_the_same_terms(method, tasks):
    names = list(method.loss(multi_nets(method), multi_batch()))
    poor = multi_batch(**{task: [] for task in TASKS if task not in tasks})
    assert list(method.loss(multi_nets(method), multi_batch()._replace(pool=poor.pool))) == names
    after = run(method, [poor])
    assert all(p.isfinite().all() for p in after.nets.student.parameters())


@pytest.mark.parametrize("tasks", [("depth",), ("segmentation", "detection")])
def test_a_network_without_a_head_ignores_what_is_known_of_its_task(tasks):
    student = multi_net(tasks)
    terms = MUST().loss(multi_nets(MUST(), student), multi_batch())
    assert {name.removeprefix("pool_") for name in terms} == {*tasks, "balance"}
    assert total(terms) > 0


@every_balance
def test_an_empty_pool_trains(method):
    terms = method.loss(multi_nets(method), multi_batch(pool=0))
    assert all(terms[f"pool_{task}"] == 0 for task in TASKS)
    total(terms).backward()


@every_balance
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(method, tmp_path):
    batches = [multi_batch(depth=[0]), multi_batch(detection=[]), multi_batch()]
    torch.manual_seed(5)
    student = multi_net()
    whole = run(method, batches, student=copy.deepcopy(student))
    cut = run(method, batches[:2], student=copy.deepcopy(student))
    checkpoint.save(cut, tmp_path / "run.pt")
    again = begin(method, multi_net(), None, Sizes(2, 3, 3, 8), SETTINGS)
    assert checkpoint.restore(again, tmp_path / "run.pt")
    run(method, batches[2:], begun=again)
    for name in ("student", "extra"):
        assert equal(weights(getattr(whole.nets, name)), weights(getattr(again.nets, name)))
    assert equal(weights(whole.average), weights(again.average))
