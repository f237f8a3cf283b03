"""What every method owes the engine. One new method, one new line in METHODS, all of these for free."""

import copy
import dataclasses
import itertools
import math

import pytest
import shown
import torch
from owed import ONE_FORWARD, refuses_numbers_out_of_range

from tutelage.methods import METHODS
from tutelage.train import loop
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Batch, Labeled, Unlabeled

OWING = METHODS | {"CONTRIBUTING.md": shown.run("CONTRIBUTING.md")["MyMethod"]}  # who copies it owes no less
PLAIN = {name: cls() for name, cls in OWING.items()}
VARIANTS = {  # what a field can switch to, where that is other code
    "ab-labels": METHODS["ab"](label=1.0),
    "attention_transfer-paper": METHODS["attention_transfer"](form="paper", weight=0.1, soft=1.0),
    "ban-cwtm": METHODS["ban"](variant="cwtm"),
    "ban-dkpp": METHODS["ban"](variant="dkpp"),
    "cckd-bilinear": METHODS["cckd"](form="bilinear", weight=100.0),
    "cckd-neighbours": METHODS["cckd"](form="neighbours", weight=0.02),
    "darkrank-soft": METHODS["darkrank"](form="soft", weight=16.0, alpha=12.25, beta=4.0),
    "av_acoustic-edges": METHODS["av_acoustic"](sense="edges"),
    "dml-mean": METHODS["dml"](form="mean", peers=2),
    "emotion_xmodal-max": METHODS["emotion_xmodal"](frames="max"),
    "fitnets-joint": METHODS["fitnets"](form="joint", layers=("stage1:stage1", "stage2:stage1")),
    "fixmatch-pseudo": METHODS["fixmatch"](pseudo=0.5, ramp=0.5),
    "fsp-average": METHODS["fsp"](elements="mean", pooling="average"),
    "internal_repr-all": METHODS["internal_repr"](schedule="all", first=0.0),
    "internal_repr-progressive": METHODS["internal_repr"](schedule="progressive"),
    "kdcl-general": METHODS["kdcl"](target="general", peers=2),
    "kdcl-linear": METHODS["kdcl"](target="linear"),
    "kdcl-naive": METHODS["kdcl"](target="naive"),
    "mean_teacher-pseudo": METHODS["mean_teacher"](pseudo=0.5),
    "multi_teacher_avg-logits": METHODS["multi_teacher_avg"](mean="logits"),
    "noisy_student-hard": METHODS["noisy_student"](hard=True),
    "noisy_student-online": METHODS["noisy_student"](online=True),
    "pkd-last": METHODS["pkd"](blocks="last"),
    "ranking_distillation-ranks": METHODS["ranking_distillation"](warmup=0.0),
    "teacher_weighted_face-doubted": METHODS["teacher_weighted_face"](wrong="doubted"),
    "tf_kd-reg": METHODS["tf_kd"](mode="reg"),
}
POOL_FIRST = {"FSP"}  # whose second stage is plain supervised learning
CHASING = {"PCL"}  # whose sum need not fall: views that differ are compared, and the targets grow surer meanwhile
ALL = PLAIN | VARIANTS
POOLED = {name: method for name, method in ALL.items() if method.pool}
every_method = pytest.mark.parametrize("method", list(ALL.values()), ids=list(ALL))
every_pool_method = pytest.mark.parametrize("method", list(POOLED.values()), ids=list(POOLED))


def total(terms):
    return torch.stack(list(terms.values())).sum()


def by_heart(method, terms):
    """What must fall on a batch that is seen again and again."""
    return terms["task"] if type(method).__name__ in CHASING else total(terms)


def trusting(method):
    """A method that keeps every guess."""
    return dataclasses.replace(method, confidence=0.0) if hasattr(method, "confidence") else method


def past_ramps(method, nets):
    """After a run of one step, unless the pool is heard in the first of two stages only."""
    if type(method).__name__ not in POOL_FIRST:
        method.after_step(nets, 1)


def train(method, nets, batches, optimizer):
    nets.student.train()
    for number, batch in enumerate(batches, start=1):
        optimizer.zero_grad(set_to_none=True)
        total(method.loss(nets, batch)).backward()
        optimizer.step()
        method.after_step(nets, number)


def gradients(nets):
    """Of all weights of the student, and of all of `extra` but copies that were frozen for good."""
    named = [*nets.student.named_parameters(), *((n, p) for n, p in nets.extra.named_parameters() if p.requires_grad)]
    return {name: p.grad for name, p in named}


@pytest.mark.parametrize("name", ["amtml_kd", "factor_transfer", "mobileid", "sskd"])
def test_what_the_first_stage_makes_is_never_used_unmade(make_nets, batch, name):
    """However short the stage is, it has one step."""
    with pytest.raises(BadInput, match=r"first of .* is 0.0: it must be above 0"):
        METHODS[name](first=0.0)
    method = METHODS[name](first=1e-6)
    nets = make_nets(method)
    before = copy.deepcopy(nets.extra.state_dict())
    optimizer = torch.optim.SGD(nets.extra.parameters(), lr=0.1)
    total(method.loss(nets, batch)).backward()
    optimizer.step()
    method.after_step(nets, 1)
    frozen = [key for key in before if any(part in key for part in ("frozen", "kept"))]
    assert any(not torch.equal(before[key], nets.extra.state_dict()[key]) for key in frozen)


@every_method
def test_terms_are_finite_scalars_and_none_is_negative(method, make_nets, batch):
    terms = method.loss(make_nets(method), batch)
    assert all(term.ndim == 0 and term.isfinite() and term >= 0 for term in terms.values())
    assert total(terms) > 0


@every_method
def test_gradient_reaches_all_of_student_and_extra_and_none_of_teacher(method, make_nets, batch):
    nets = make_nets(method)
    total(method.loss(nets, batch)).backward()
    if getattr(method, "first", 0):  # in the first of two stages some weights wait: the second adds its gradient
        method.after_step(nets, 60)
        total(method.loss(nets, batch)).backward()
    assert [name for name, grad in gradients(nets).items() if grad is None or not grad.any()] == []
    if method.teacher != "self":
        assert all(p.grad is None for p in nets.teacher.parameters())


@every_method
def test_the_teacher_is_asked_about_an_image_once_and_under_inference_mode(method, make_nets, batch):
    if method.teacher == "self":
        pytest.skip("it has no teacher but itself")
    nets, asked = make_nets(method), []
    nets.teacher.net.register_forward_pre_hook(
        lambda _, images: asked.append((images[0], torch.is_inference_mode_enabled()))
    )
    method.loss(nets, batch)
    assert all(inference for _, inference in asked)
    seen = torch.cat([images for images, _ in asked]) if asked else torch.zeros(0, 3, 8, 8)
    assert len(seen.unique(dim=0)) == len(seen)


@every_method
def test_learns_one_batch_by_heart(method, make_nets, batch):
    nets = make_nets(method, steps=1)  # after one step every ramp is over, and the sum means the same from then on
    optimizer = torch.optim.Adam(itertools.chain(nets.student.parameters(), nets.extra.parameters()), lr=1e-2)
    train(method, nets, [batch], optimizer)
    before = by_heart(method, method.loss(nets, batch)).item()

    def after(steps):
        train(method, nets, itertools.repeat(batch, steps), optimizer)
        return by_heart(method, method.loss(nets, batch)).item()

    assert any(after(20) < 0.9 * before for _ in range(3))  # the first twenty are enough for nearly all


@every_method
def test_state_survives_a_checkpoint(method, make_nets, batch):
    nets, again = make_nets(method), make_nets(method)
    train(method, nets, [batch] * 3, torch.optim.SGD(nets.student.parameters(), lr=0.1))
    for old, new in zip(nets, again, strict=True):
        new.load_state_dict(old.state_dict())
    for each in (nets, again):
        torch.manual_seed(1)  # what is drawn in a step is the engine's to restore
        train(method, each, [batch], torch.optim.SGD(each.student.parameters(), lr=0.1))
    torch.testing.assert_close(nets.student.state_dict(), again.student.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(nets.extra.state_dict(), again.extra.state_dict(), rtol=0, atol=0)


@every_method
def test_a_step_that_is_not_finite_leaves_no_trace(method, make_nets, batch, engine, tmp_path):
    """Neither in the student nor in what a method remembers: one broken image would spoil it for ever."""
    nets = make_nets(method)
    train(method, nets, [batch], torch.optim.SGD(nets.student.parameters(), lr=0.1))
    settings = Optimiser(warmup_steps=1)
    run = loop.Run(nets, copy.deepcopy(nets.student), loop.sgd([*nets.student.parameters()], settings))
    before = [copy.deepcopy(part.state_dict()) for part in (nets.student, nets.extra)]
    pools = {"labelled": batch.unlabeled, "pool": _broken(batch.unlabeled)}
    for name, pool in pools.items():
        bad = Batch(_broken(batch.labeled) if name == "labelled" else batch.labeled, pool)
        (step,) = loop.fit(method, run, [bad], settings, steps=9, accelerator=engine, diary=tmp_path)
        if step.skipped:
            for part, old in zip((nets.student, nets.extra), before, strict=True):
                torch.testing.assert_close(part.state_dict(), old, rtol=0, atol=0)
        else:
            assert name == "pool"
            assert not method.pool


def _broken(part):
    """The same with a pixel of each view that is not a number."""
    weak, strong = (views.clone().index_put((torch.tensor(0),) * 4, torch.tensor(math.nan)) for views in part[:2])
    return part._replace(weak=weak, strong=strong)


@every_method
def test_same_seed_same_student(method, make_nets, batch):
    def run():
        torch.manual_seed(1)
        nets = make_nets(method)
        train(method, nets, [batch] * 3, torch.optim.SGD(nets.student.parameters(), lr=0.1))
        return nets.student.state_dict()

    torch.testing.assert_close(run(), run(), rtol=0, atol=0)


@every_method
@pytest.mark.parametrize("pool", ["empty", "all rejected", "one image"])
def test_a_poor_pool_leaves_the_graph_whole(method, make_nets, batch, without_pool, pool):
    """Or processes would wait for each other's gradients for ever."""
    poor = {
        "empty": without_pool,
        "all rejected": batch._replace(
            unlabeled=batch.unlabeled._replace(weight=torch.zeros(8), target=torch.zeros(8, 3))
        ),
        "one image": batch._replace(unlabeled=Unlabeled(*(x[:1] for x in batch.unlabeled))),
    }[pool]
    nets = make_nets(method)
    terms = method.loss(nets, poor)
    assert all(term.isfinite() and term.requires_grad for term in terms.values())
    total(terms).backward()
    assert [name for name, grad in gradients(nets).items() if grad is None or not grad.isfinite().all()] == []
    assert list(terms) == list(method.loss(nets, batch))
    train(method, nets, [poor, batch, poor], torch.optim.SGD(nets.student.parameters(), lr=0.1))
    state = itertools.chain(nets.student.state_dict().values(), nets.extra.state_dict().values())
    assert all(value.isfinite().all() for value in state)


@every_method
def test_a_step_never_waits_for_the_device(method, make_nets, batch):
    """Reading a number stops the host until the GPU is done. On the meta device there is no number to read."""
    nets = make_nets(method)
    for net in nets:
        net.to("meta")
    with torch.device("meta"):
        on_meta = Batch(
            Labeled(*(x.to("meta") for x in batch.labeled)), Unlabeled(*(x.to("meta") for x in batch.unlabeled))
        )
        total(method.loss(nets, on_meta)).backward()
        method.after_step(nets, 1)


@every_method
def test_works_in_mixed_precision(method, make_nets, batch):
    nets = make_nets(method)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.loss(nets, batch)
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


@every_method
def test_the_guard_can_silence_the_pool(method, make_nets, batch):
    assert ("unsupervised" in {field.name for field in dataclasses.fields(method)}) == method.pool
    if not method.pool:
        return
    silent, other = dataclasses.replace(method, unsupervised=0.0), batch.unlabeled
    target = other.target.roll(1, 1)
    changed = batch._replace(unlabeled=other._replace(weak=1 - other.weak, strong=1 - other.strong, target=target))
    nets = make_nets(silent)
    nets.student.eval()  # in train mode the pool is still seen through batch norm, here and in adapters
    nets.extra.eval()
    assert total(silent.loss(nets, batch)) > 0
    torch.testing.assert_close(total(silent.loss(nets, batch)), total(silent.loss(nets, changed)))
    loud = trusting(method)
    nets = make_nets(loud, steps=1)
    past_ramps(loud, nets)
    nets.student.eval()
    nets.extra.eval()
    before, after = loud.loss(nets, batch), loud.loss(nets, changed)
    assert any(not torch.isclose(before[name], after[name]) for name in before)


@every_pool_method
def test_the_strong_view_of_the_pool_learns(method, make_nets, batch):
    images, method = batch.unlabeled.strong.clone().requires_grad_(), trusting(method)
    nets = make_nets(method, steps=1)
    past_ramps(method, nets)
    nets.student.eval()
    total(method.loss(nets, batch._replace(unlabeled=batch.unlabeled._replace(strong=images)))).backward()
    assert images.grad.abs().sum() > 0


@every_method
def test_uses_one_forward_with_a_graph(method, make_nets, batch):
    nets, with_graph = make_nets(method), []
    nets.student.register_forward_hook(lambda net, args, out: with_graph.append(out.logits.requires_grad))
    method.loss(nets, batch)
    assert sum(with_graph) == 1, ONE_FORWARD


@pytest.mark.parametrize("cls", OWING.values(), ids=OWING)
def test_numbers_out_of_range_are_refused_by_name(cls):
    refuses_numbers_out_of_range(cls)
