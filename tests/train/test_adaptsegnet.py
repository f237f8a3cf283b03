import copy
import math

import pytest
import torch
from interrupted import continues
from multi_fixtures import multi_batch, multi_net
from tiny import Tiny
from torch import nn

from tutelage.models.multi_levels import MapLevels
from tutelage.train.adaptsegnet import AdaptSegNet, Levels, begin, fit
from tutelage.train.adversarial import Pair, dense_pairs, known_cross_entropy, pairs
from tutelage.train.settings import Optimiser
from tutelage.types import IGNORE, BadInput, Diverged

SETTINGS, CPU = Optimiser(lr=0.05, warmup_steps=1), torch.device("cpu")


class Maps(nn.Module):
    """A network with two levels of maps, of an eighth as many critics' pixels."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.levels = nn.ModuleList(nn.Conv2d(4, 3, 1) for _ in range(2))

    def forward(self, images):
        maps = self.first(images).relu()
        return tuple(level(maps) for level in self.levels)


def start(method, student):
    torch.manual_seed(3)
    images = torch.rand(2, 3, 32, 32) if isinstance(student, Maps) else torch.rand(2, 3, 8, 8)
    return begin(method, student, images, SETTINGS)


def maps():
    torch.manual_seed(2)
    return Maps()


def classifier(stage=None):
    torch.manual_seed(2)
    return Levels(Tiny(4), stage)


def test_a_level_lies_where_its_network_does():
    levels = Levels(Tiny(4).to("meta"), next(iter(Tiny(4).widths)))
    assert {p.device.type for p in levels.parameters()} == {"meta"}


def dense():
    torch.manual_seed(2)
    labels = torch.randint(0, 3, (2, 32, 32))
    labels[:, :4] = IGNORE
    none = torch.full((2, 32, 32), IGNORE)
    return Pair(torch.rand(2, 3, 32, 32), labels, torch.rand(2, 3, 32, 32), none, torch.arange(2))


def steps(method, run, seen, number, *, of=6):
    return list(fit(method, run, [seen] * number, SETTINGS, steps=of))


def test_terms_of_both_levels_by_hand(batch):
    """Critics that know nothing: a verdict costs ln 2, whatever the answers."""
    method, run = AdaptSegNet(adversarial=0.1, second=0.02, auxiliary=0.3), start(AdaptSegNet(), classifier("stage1"))
    for critic in run.critics:
        nn.init.zeros_(critic[-1].weight)
        nn.init.zeros_(critic[-1].bias)
    (pair,) = pairs([batch], device=CPU)
    run.student.train()
    with torch.no_grad():
        said = copy.deepcopy(run.student)(torch.cat([pair.source, pair.target]))
    task, second = (nn.functional.cross_entropy(level[: len(pair.labels)], pair.labels) for level in said)
    (step,) = steps(method, run, pair, 1)
    ln2, zero = torch.tensor(math.log(2)), torch.tensor(0.0)
    expected = {
        "task": task, "task_1": 0.3 * second, "fooling": 0.1 * ln2, "fooling_1": 0.02 * ln2, "critic_0": ln2,
        "critic_1": ln2, "pseudo": zero, "pseudo_1": zero,
    }  # fmt: skip
    torch.testing.assert_close(step.terms, expected)


def test_the_students_step_leaves_critics_and_theirs_leaves_the_student(batch):
    (pair,) = pairs([batch], device=CPU)
    still = AdaptSegNet(critic_lr=1e-12)
    run = start(still, classifier())
    critics, student = (copy.deepcopy(x.state_dict()) for x in (run.critics, run.student.head))
    steps(still, run, pair, 2)
    torch.testing.assert_close(run.critics.state_dict(), critics, atol=1e-9, rtol=0)
    assert student == {}
    assert all(p.requires_grad for p in run.critics.parameters())
    loud, silent = start(AdaptSegNet(), classifier()), start(AdaptSegNet(critic_lr=1.0), classifier())
    steps(AdaptSegNet(), loud, pair, 1)
    steps(AdaptSegNet(critic_lr=1.0), silent, pair, 1)  # another step of the critic, the same of the student
    torch.testing.assert_close(loud.student.state_dict(), silent.student.state_dict(), rtol=0, atol=0)
    assert not torch.equal(loud.critics[0][0].weight, silent.critics[0][0].weight)


def test_a_critic_draws_the_target_to_the_source(batch):
    """With the weight at 0 nothing of the target reaches the student but batch norm; above, its answers move."""
    (pair,) = pairs([batch], device=CPU)
    pulled, alone = (start(AdaptSegNet(), classifier()) for _ in range(2))
    steps(AdaptSegNet(adversarial=5.0), pulled, pair, 1)
    steps(AdaptSegNet(adversarial=0.0), alone, pair, 1)
    assert not torch.equal(pulled.student.network.head.weight, alone.student.network.head.weight)


def test_maps_at_two_levels_learn_and_ignored_pixels_do_not_count():
    method = AdaptSegNet(critic_width=2)
    run, pair = start(method, maps()), dense()
    found = steps(method, run, pair, 20, of=20)
    assert found[-1].terms["task"] < found[0].terms["task"]
    assert len(run.critics) == 2
    logits = torch.randn(2, 3, 32, 32, requires_grad=True)
    known_cross_entropy(logits, pair.labels).backward()
    assert not logits.grad[:, :, :4].any()
    assert logits.grad[:, :, 4:].any()
    assert known_cross_entropy(logits, torch.full_like(pair.labels, IGNORE)) == 0


@pytest.mark.parametrize("make", [classifier, lambda: classifier("stage1"), maps])
def test_cut_and_continued_is_bit_equal_to_never_cut(batch, tmp_path, make):
    seen = dense() if make is maps else next(pairs([batch], device=CPU))
    method = AdaptSegNet(critic_width=2)
    follow = lambda run, seen: fit(method, run, seen, SETTINGS, steps=6)  # noqa: E731
    continues(lambda: start(method, make()), follow, [seen] * 6, 2, tmp_path)


@pytest.mark.parametrize("form", ["bce", "least_squares"])
def test_constant_images_stay_finite(batch, form):
    labeled = batch.labeled._replace(weak=torch.zeros(6, 3, 8, 8), strong=torch.zeros(6, 3, 8, 8))
    flat = batch._replace(labeled=labeled, unlabeled=batch.unlabeled._replace(weak=torch.ones(8, 3, 8, 8)))
    method = AdaptSegNet(form=form)
    run = start(method, classifier("stage2"))
    steps(method, run, next(pairs([flat], device=CPU)), 6)
    for part in (run.student, run.critics, run.average):
        assert all(x.isfinite().all() for x in part.state_dict().values())


def test_the_targets_labels_are_not_in_what_a_step_sees(batch):
    assert Pair._fields == ("source", "labels", "target", "pseudo", "ids")
    (pair,) = pairs([batch], device=CPU)
    assert (pair.pseudo == IGNORE).all()
    assert len(pair.labels) == 2 * len(batch.labeled.labels)


def test_pixels_of_the_source_are_labelled_where_they_are_given_and_trusted_and_the_targets_nowhere():
    batch = multi_batch(labeled=2, pool=3, segmentation=[1])
    given = batch.labeled.truth.segmentation
    given.target[:, 0], given.weight[:, 1] = IGNORE, 0.0
    pair = next(dense_pairs([batch], device=CPU))
    assert (pair.labels[0] == IGNORE).all()
    assert (pair.labels[1, :2] == IGNORE).all()
    assert torch.equal(pair.labels[1, 2:], given.target[0, 2:])
    told = batch.pool.truth.segmentation
    blank = [row for row in range(3) if row not in told.rows]
    assert (pair.pseudo[blank] == IGNORE).all()
    assert torch.equal(pair.pseudo[told.rows], told.target)
    assert pair.pseudo.shape == (3, 32, 32)
    assert torch.equal(pair.target, batch.pool.images)


@pytest.mark.parametrize("second", [False, True])
def test_a_network_that_names_pixels_learns_with_a_critic_a_level(second):
    net = multi_net(("segmentation",)).eval()
    student, batch = MapLevels(net, second=second), multi_batch()
    levels = student(batch.pool.images)
    assert [tuple(level.shape) for level in levels] == [(3, 4, 32, 32)] * (1 + second)
    assert torch.equal(levels[0], net(batch.pool.images).segmentation)
    method = AdaptSegNet(critic_width=4)
    run = begin(method, student.train(), batch.pool.images, SETTINGS)
    assert len(run.critics) == 1 + second
    before = [p.clone() for p in student.parameters()]
    steps(method, run, next(dense_pairs([batch], device=CPU)), 1)
    assert not any(torch.equal(*pair) for pair in zip(before, student.parameters(), strict=True))


def test_what_is_not_finite_is_an_error(batch):
    (pair,) = pairs([batch], device=CPU)
    run = start(AdaptSegNet(), classifier())
    with pytest.raises(Diverged, match="step 1"):
        steps(AdaptSegNet(), run, pair._replace(source=pair.source * math.nan), 1)


def test_numbers_and_stages_out_of_range_are_refused():
    with pytest.raises(BadInput, match="critic_lr of AdaptSegNet"):
        AdaptSegNet(critic_lr=0.0)
    with pytest.raises(BadInput, match="stage is 'stage9'"):
        Levels(Tiny(4), "stage9")
