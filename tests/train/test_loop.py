import copy
import math

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from tutelage.data.batch_views import Planned, carried_out
from tutelage.methods import METHODS
from tutelage.train import checkpoint
from tutelage.train.lessons import Resumable
from tutelage.train.loop import MAX_SKIPPED, begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Diverged, Sizes

SIZES = Sizes(labeled=6, unlabeled=8, classes=3, steps=12)
SETTINGS = Optimiser(warmup_steps=2)


@pytest.fixture
def start(make_nets):
    """A run of a method from the same random weights, however often it is called."""

    def make(name="fixmatch", steps=12, settings=SETTINGS):
        torch.manual_seed(1)
        method = METHODS[name]()
        nets = make_nets(method, steps=steps)
        return method, begin(method, nets.student, nets.teacher, SIZES._replace(steps=steps), settings)

    return make


def weights(run):
    return copy.deepcopy([run.nets.student.state_dict(), run.average.state_dict(), run.nets.extra.state_dict()])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_cut_and_continued_is_bit_equal_to_never_cut(name, start, engine, batch, tmp_path):
    method, whole = start(name, steps=8)
    for step in fit(method, whole, [batch] * 8, SETTINGS, steps=8, accelerator=engine):
        assert not step.skipped
        if step.number == 3:
            checkpoint.save(whole, tmp_path / "run.pt")
    torch.manual_seed(99)  # another process knows nothing of this one's random state
    torch.rand(7)
    _, second = start(name, steps=8)
    assert checkpoint.restore(second, tmp_path / "run.pt")
    steps = list(fit(method, second, [batch] * 5, SETTINGS, steps=8, accelerator=engine))
    assert [step.number for step in steps] == list(range(4, 9))
    torch.testing.assert_close(weights(second), weights(whole), rtol=0, atol=0)


def test_views_are_made_in_full_precision(start, engine, batch, monkeypatch):
    moves = torch.tensor([[0.93, 0.11, 0.07], [-0.11, 0.93, -0.03]]).expand(6, 2, 3)
    plan = Planned((255 * batch.labeled.weak).byte(), moves, torch.zeros(6, 4))
    planned, seen = batch._replace(labeled=batch.labeled._replace(weak=plan)), []
    method, run = start("supervised")
    loss = type(method).loss
    monkeypatch.setattr(type(method), "loss", lambda self, nets, given: seen.append(given) or loss(self, nets, given))
    monkeypatch.setattr(engine, "autocast", lambda: torch.autocast("cpu", torch.bfloat16))
    next(fit(method, run, [planned], SETTINGS, steps=12, accelerator=engine))
    torch.testing.assert_close(seen[0].labeled.weak, carried_out(plan), rtol=0, atol=0)


def test_a_checkpoint_that_is_not_there_is_a_start(start, tmp_path):
    _, run = start()
    assert not checkpoint.restore(run, tmp_path / "run.pt")
    assert run.step == 0


@pytest.mark.parametrize("kept", [0, 1000, None])
def test_a_checkpoint_that_is_not_whole_is_named(start, tmp_path, kept):
    path, (_, run) = tmp_path / "run.pt", start("kd")
    checkpoint.save(run, path)
    if kept is None:
        torch.save({"step": 1}, path)
    else:
        path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=r"run\.pt is no whole checkpoint.*Delete it"):
        checkpoint.restore(run, path)


def test_a_checkpoint_of_four_gpus_is_continued_where_one_is_seen(start, monkeypatch):
    """Each process computes on one. CUDA refuses the state of a GPU that it does not see."""
    only, four = torch.Generator(), [torch.Generator().manual_seed(seed).get_state() for seed in range(4)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device=0: only.get_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device=0: [only][device].set_state(state))
    run, lesson = start("kd")[1], Resumable()
    lesson.parts, lesson.step = (), 0
    checkpoint.put_back(run, {**checkpoint.state_of(run), "random_cuda": four})
    assert torch.equal(only.get_state(), four[0])
    lesson.load_state_dict({**lesson.state_dict(), "random_cuda": four[2:]})
    assert torch.equal(only.get_state(), four[2])


def test_a_given_teacher_is_not_in_the_checkpoint(start, tmp_path):
    for name, kept in (("kd", False), ("mean_teacher", True)):
        _, run = start(name)
        checkpoint.save(run, tmp_path / "run.pt")
        assert ("teacher" in torch.load(tmp_path / "run.pt", weights_only=True)) == kept


def test_schedule_by_hand(start, engine, batch):
    method, run = start()
    weights, biases = zip(*(
        [group["lr"] for group in run.optimizer.param_groups]
        for _ in fit(method, run, [batch] * 12, SETTINGS, steps=12, accelerator=engine)
    ), strict=True)  # fmt: skip
    assert weights == biases
    rates = list(weights)
    assert rates[0] == pytest.approx(0.03 / 2)  # first of two warm-up steps
    assert rates[6] == pytest.approx(0.03 * math.cos(7 * math.pi * 6 / (16 * 12)))
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)


def test_more_batches_than_steps_go_on_at_the_last_rate(start, engine, batch):
    method, run = start("supervised")
    fitting = fit(method, run, [batch] * 9, SETTINGS, steps=3, accelerator=engine)
    rates = [run.optimizer.param_groups[0]["lr"] for _ in fitting]
    assert rates[3:] == pytest.approx([0.03 * math.cos(7 * math.pi / 16)] * 6)
    with pytest.raises(BadInput, match="steps is 0: "):
        next(fit(method, run, [batch], SETTINGS, steps=0, accelerator=engine))


def test_the_average_lags_behind_and_forgets_its_start(start, engine, batch):
    method, run = start()
    steps = fit(method, run, [batch] * 12, SETTINGS, steps=12, accelerator=engine)
    next(steps)
    torch.testing.assert_close(run.average.state_dict(), run.nets.student.state_dict())  # nothing of the start is left
    list(steps)
    assert not torch.equal(run.average.head.weight, run.nets.student.head.weight)


def test_a_step_that_is_not_a_number_changes_nothing_and_is_kept(start, engine, batch, tmp_path):
    method, run = start()
    bad = batch._replace(labeled=batch.labeled._replace(strong=batch.labeled.strong * math.nan))
    before = copy.deepcopy(run.nets.student.state_dict())
    step = next(fit(method, run, [bad], SETTINGS, steps=12, accelerator=engine, diary=tmp_path))
    assert step.skipped
    torch.testing.assert_close(run.nets.student.state_dict(), before, rtol=0, atol=0)
    saved = torch.load(tmp_path / "batch-1.pt", weights_only=True)
    assert saved["labeled"][1].isnan().all()


def test_a_bad_step_leaves_what_the_good_ones_before_it_left(start, engine, batch, tmp_path):
    method, run = start("supervised")
    bad = batch._replace(labeled=batch.labeled._replace(strong=batch.labeled.strong * math.nan))
    steps = fit(method, run, [batch, bad, batch, batch, bad], SETTINGS, steps=12, accelerator=engine, diary=tmp_path)
    states = [(step.skipped, copy.deepcopy(run.nets.student.state_dict())) for step in steps]
    assert [skipped for skipped, _ in states] == [False, True, False, False, True]
    torch.testing.assert_close(states[1][1], states[0][1], rtol=0, atol=0)
    torch.testing.assert_close(states[4][1], states[3][1], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adamatch", "fixmatch", "softmatch"])
def test_a_bad_view_that_the_loss_does_not_show_leaves_nothing(name, start, engine, batch):
    method, run = start(name)
    weak = batch.unlabeled.weak.clone()
    weak[0, 0, 0, 0] = math.nan
    bad = batch._replace(unlabeled=batch.unlabeled._replace(weak=weak))
    steps = list(fit(method, run, [batch, bad, batch], SETTINGS, steps=12, accelerator=engine))
    assert [step.skipped for step in steps] == [False, True, False]
    assert all(x.isfinite().all() for net in (run.average, run.nets.extra) for x in net.state_dict().values())


def test_it_stops_after_a_few_bad_steps_in_a_row_and_says_where(start, engine, batch, tmp_path):
    method, run = start()
    bad = batch._replace(labeled=batch.labeled._replace(strong=batch.labeled.strong * math.nan))
    with pytest.raises(Diverged, match=rf"step {MAX_SKIPPED} .*task nan.*batch-{MAX_SKIPPED}\.pt.*Lower optimiser\.lr"):
        list(fit(method, run, [bad] * 20, SETTINGS, steps=12, accelerator=engine, diary=tmp_path))


def test_one_good_step_forgives_the_bad_ones(start, engine, batch, tmp_path):
    method, run = start("supervised")
    worse = batch._replace(labeled=batch.labeled._replace(strong=batch.labeled.strong * math.nan))
    list(fit(method, run, ([worse] * 4 + [batch]) * 3, SETTINGS, steps=15, accelerator=engine, diary=tmp_path))
    assert all(value.isfinite().all() for value in run.nets.student.state_dict().values())


def test_biases_and_norms_are_not_decayed(start):
    _, run = start()
    decayed, spared = run.optimizer.param_groups
    assert {p.ndim for p in spared["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) > 1
    assert spared["weight_decay"] == 0 < decayed["weight_decay"]


def test_a_method_that_needs_a_teacher_says_so(make_nets):
    with pytest.raises(BadInput, match="KD learns from a given teacher"):
        begin(METHODS["kd"](), make_nets(METHODS["kd"]()).student, None, SIZES, SETTINGS)


def test_what_a_method_adds_is_trained_too_and_one_norm_is_clipped_for_all(start, engine, batch):
    """At a rate of 1 and without momentum, weights move as far as the gradient that is left is long."""
    settings = Optimiser(lr=1, momentum=0, weight_decay=0, warmup_steps=1, clip=1e-3)
    method, run = start("fitnets", settings=settings)
    extra = list(run.nets.extra.parameters())
    trained = [*run.nets.student.parameters(), *extra]
    assert extra
    assert {id(p) for group in run.optimizer.param_groups for p in group["params"]} == {id(p) for p in trained}
    before = parameters_to_vector(trained).detach().clone()
    next(fit(method, run, [batch], settings, steps=12, accelerator=engine))
    assert (parameters_to_vector(trained) - before).norm().item() == pytest.approx(1e-3, rel=1e-2)
