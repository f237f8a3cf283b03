"""A batch cut into shares, one in memory at a time."""

import copy

import pytest
import torch
from multi_fixtures import multi_batch
from scene_fixtures import scene_batch
from torch import nn

from tasks import carry
from tutelage.data.batch_views import planned
from tutelage.data.views import Views
from tutelage.methods import METHODS
from tutelage.train import checkpoint
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.train.shares import shares
from tutelage.types import BadInput, Network, Outputs, Sizes

SIZES = Sizes(labeled=6, unlabeled=8, classes=3, steps=8)
SETTINGS = Optimiser(warmup_steps=2)


class Flat(Network):
    """No batch norm: an image's answer depends on that image alone."""

    def __init__(self):
        super().__init__()
        self.widths, self.embedding_width = {"all": 192}, 192
        self.head = nn.Linear(192, 3)

    def forward(self, images):
        pixels = images.flatten(1)
        return Outputs(self.head(pixels), pixels, {"all": images})


def everything(run):
    return copy.deepcopy([run.nets.student.state_dict(), run.average.state_dict(), run.nets.extra.state_dict()])


def test_each_share_has_its_part_of_the_labelled_images_and_of_the_pool_in_order(batch):
    first, second = shares(batch, 2)
    assert torch.equal(torch.cat([first.labeled.labels, second.labeled.labels]), batch.labeled.labels)
    assert torch.equal(torch.cat([first.unlabeled.ids, second.unlabeled.ids]), batch.unlabeled.ids)
    assert torch.equal(second.unlabeled.strong, batch.unlabeled.strong[4:])
    assert len(first.labeled.weak) == 3
    assert shares(batch, 1) == [batch]
    none = batch._replace(unlabeled=type(batch.unlabeled)(*(field[:0] for field in batch.unlabeled)))
    assert [len(each.unlabeled.ids) for each in shares(none, 3)] == [0, 0, 0]


def test_plans_of_views_are_cut_as_views_are(batch):
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8).numpy()
    plan = planned(images, Views(), (1,), strong=True)
    cut = shares(batch._replace(labeled=batch.labeled._replace(weak=plan, strong=plan)), 2)
    assert all(len(field) == 3 for field in cut[1].labeled.strong)
    assert torch.equal(cut[1].labeled.strong.moves, plan.moves[3:])


def test_scenes_keep_their_boxes():
    batch = scene_batch(labeled=4, pool=2)
    first, second = shares(batch, 2)
    assert len(first.labeled.weak_boxes) == len(first.labeled.weak) == len(first.labeled.known) == 2
    assert second.labeled.strong_boxes == batch.labeled.strong_boxes[2:]
    assert second.pool.strong_boxes == batch.pool.strong_boxes[1:]
    assert second.pool.visible == batch.pool.visible


def test_tasks_keep_the_rows_that_are_theirs():
    batch = multi_batch(labeled=4, pool=2, depth=[1, 2], detection=[0, 3])
    first, second = shares(batch, 2)
    assert (first.labeled.truth.depth.rows.tolist(), second.labeled.truth.depth.rows.tolist()) == ([1], [0])
    assert torch.equal(second.labeled.truth.depth.target, batch.labeled.truth.depth.target[1:])
    assert (first.labeled.truth.detection.rows.tolist(), second.labeled.truth.detection.rows.tolist()) == ([0], [1])
    assert second.labeled.truth.detection.boxes == batch.labeled.truth.detection.boxes[1:]
    assert (first.pool.truth.depth.rows.tolist(), second.pool.truth.depth.rows.tolist()) == ([], [0])
    assert torch.equal(second.labeled.images, batch.labeled.images[2:])


def test_what_does_not_divide_is_refused(batch):
    with pytest.raises(
        BadInput, match=r"into 4 shares \(compute\.accumulate\), and labeled has 6 images, which does not"
    ):
        shares(batch, 4)
    with pytest.raises(BadInput, match="labeled has 6 and unlabeled has 8 images"):
        shares(batch, 5)
    with pytest.raises(BadInput, match="accumulate are at least 1"):
        Compute(accumulate=0)


@pytest.mark.parametrize("name", ["supervised", "fixmatch"])
def test_the_step_is_that_of_the_whole_batch_where_images_do_not_meet(name, engine, batch):
    torch.manual_seed(3)
    method, net = METHODS[name](), Flat()
    found = []
    for number in (1, 2):
        run = begin(method, copy.deepcopy(net), None, SIZES, SETTINGS)
        steps = list(fit(method, run, [batch] * 3, SETTINGS, steps=8, accelerator=engine, accumulate=number))
        found.append((run.nets.student.head.weight.detach().clone(), [float(s.terms["task"]) for s in steps]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-6)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-5)
    assert not torch.equal(found[0][0], net.head.weight)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_learns_from_shares(name, make_nets, engine, batch):
    method = METHODS[name]()
    nets = make_nets(method, steps=8)
    whole, cut = (begin(method, copy.deepcopy(nets.student), nets.teacher, SIZES, SETTINGS) for _ in range(2))
    one, *_ = fit(method, whole, [batch], SETTINGS, steps=8, accelerator=engine)
    two, *_ = fit(method, cut, [batch], SETTINGS, steps=8, accelerator=engine, accumulate=2)
    assert one.terms.keys() == two.terms.keys()
    assert not two.skipped
    assert all(torch.isfinite(value) for value in two.terms.values())


def test_a_share_that_is_not_finite_leaves_everything_as_it_was(make_nets, engine, batch, tmp_path):
    method = METHODS["adamatch"]()
    run = begin(method, make_nets(method, steps=8).student, None, SIZES, SETTINGS)
    list(fit(method, run, [batch], SETTINGS, steps=8, accelerator=engine, accumulate=2))
    before = everything(run)
    weak = batch.unlabeled.weak.clone()
    weak[-1] = torch.nan  # in the second share: the first has moved statistics by then
    bad = batch._replace(unlabeled=batch.unlabeled._replace(weak=weak))
    (step,) = fit(method, run, [bad], SETTINGS, steps=8, accelerator=engine, accumulate=2, diary=tmp_path)
    assert step.skipped
    torch.testing.assert_close(everything(run), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in run.nets.student.parameters())
    kept = torch.load(tmp_path / "batch-2.pt", weights_only=True)
    assert len(kept["unlabeled"][0]) == 8  # the batch, not the share


def test_cut_off_and_continued_is_bit_equal(make_nets, engine, batch, tmp_path):
    method = METHODS["fixmatch"]()
    nets = make_nets(method, steps=8)
    whole, second = (begin(method, copy.deepcopy(nets.student), None, SIZES, SETTINGS) for _ in range(2))
    for step in fit(method, whole, [batch] * 6, SETTINGS, steps=8, accelerator=engine, accumulate=2):
        if step.number == 3:
            checkpoint.save(whole, tmp_path / "run.pt")
    assert checkpoint.restore(second, tmp_path / "run.pt")
    list(fit(method, second, [batch] * 3, SETTINGS, steps=8, accelerator=engine, accumulate=2))
    torch.testing.assert_close(everything(second), everything(whole), rtol=0, atol=0)


def test_as_much_is_kept_for_the_way_back_as_a_share_needs(make_nets, engine, batch):
    method, most = METHODS["adamatch"](), {}
    nets = make_nets(method, steps=8)
    for number in (1, 2):
        now = [0, 0]

        class Kept:
            def __init__(self, tensor, now=now):
                self.tensor, self.now = tensor, now
                now[0] += tensor.numel()
                now[1] = max(now)

            def __del__(self):
                self.now[0] -= self.tensor.numel()

        run = begin(method, copy.deepcopy(nets.student), None, SIZES, SETTINGS)
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            list(fit(method, run, [batch], SETTINGS, steps=8, accelerator=engine, accumulate=number))
        most[number] = now[1]
    assert most[2] < 0.6 * most[1]


def test_where_memory_is_short_the_way_out_is_told(monkeypatch, make_nets, tmp_path):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
        yield

    method = METHODS["fixmatch"]()
    run = begin(method, make_nets(method, steps=8).student, None, SIZES, SETTINGS)
    monkeypatch.setattr(carry, "fit", full)
    monkeypatch.chdir(tmp_path)
    said = r"a student needs more memory .* \(CUDA out of memory\)\. Write compute\.accumulate: 4"
    with pytest.raises(BadInput, match=said):
        carry.carry_out(
            "a student", method, run, lambda _: [], steps=8, optimiser=SETTINGS, compute=Compute(accumulate=2),
            scratch=tmp_path / "scratch",
        )  # fmt: skip


def test_a_loop_of_its_own_refuses_shares(tmp_path):
    with pytest.raises(BadInput, match=r"compute\.accumulate is 2, and a student is trained by a loop of its own"):
        carry.carry_on("a student", None, lambda: (), steps=1, compute=Compute(accumulate=2), scratch=tmp_path)
