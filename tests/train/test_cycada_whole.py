from itertools import islice

import pytest
import torch
from tiny import Pixels, Tiny, make_batch
from torch import nn

from tutelage.train.adaptsegnet import Levels
from tutelage.train.adversarial import Pair, pairs
from tutelage.train.cycada import CyCADA
from tutelage.train.cycada_whole import CyCADAStages, begin, fit, trained
from tutelage.train.cyclegan import CycleGAN
from tutelage.train.settings import Optimiser
from tutelage.types import IGNORE, BadInput

SETTINGS, CPU = Optimiser(lr=0.05, warmup_steps=1), torch.device("cpu")
FAINT = CycleGAN(width=2, blocks=1, critic_width=2, history=2, semantic=1.0)
SMALL = CyCADAStages(translate=FAINT, align=CyCADA(lr=1e-2, least=0.0, critic_width=2), aligning=0.4)
STEPS = 10  # three, three and four


def seen(batch) -> Pair:
    return next(pairs([batch], device=CPU))


@pytest.fixture
def pair(batch) -> Pair:
    return seen(batch)


def start(method=SMALL):
    torch.manual_seed(3)
    return begin(method, Levels(Tiny(4)), SETTINGS, size=8)


def walk(run, pair, method=SMALL):
    return fit(method, run, lambda a, b: [pair] * (b - a), SETTINGS, steps=STEPS)


def steps(run, pair, number=STEPS, method=SMALL):
    return list(islice(walk(run, pair, method), number))


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_stages_follow_each_other_and_each_moves_its_own(pair):
    run = start()
    student, generators = weights(run.student), weights(run.translator.generators)
    found = steps(run, pair, 3)
    assert same(weights(run.student), student)
    assert not same(weights(run.translator.generators), generators)
    generators = weights(run.translator.generators)
    found += steps(run, pair, 3)
    assert same(weights(run.translator.generators), generators)
    average = weights(run.average)
    assert not same(average, student)
    found += steps(run, pair, 4)
    assert same(weights(run.average), average)
    assert same(weights(run.features.source), average)
    assert not same(weights(trained(SMALL, run)), average)
    assert [step.number for step in found] == list(range(1, STEPS + 1))
    assert ["semantic" in step.terms for step in found] == [True] * 3 + [False] * 7
    assert ["task" in step.terms for step in found] == [False] * 3 + [True] * 3 + [False] * 4


@pytest.mark.parametrize("before", [3, 6])
def test_training_and_the_network_of_the_source_see_translated_images_and_their_labels(pair, before):
    run, asked = start(), []

    class Black(nn.Module):
        def forward(self, images):
            return 0 * images

    steps(run, pair, before)
    run.translator.generators.there = Black()
    watched = run.student if before == 3 else run.features.source
    watched.register_forward_pre_hook(lambda _, seen: asked.append(seen[0]))
    (step,) = steps(run, pair, 1)
    assert [len(images) for images in asked] == [len(pair.source)]
    assert not asked[0].any()
    assert before == 6 or step.terms["task"] > 0


def test_without_alignment_the_average_is_kept(pair):
    method = CyCADAStages(translate=FAINT, aligning=0.0)
    run = start(method)
    found = steps(run, pair, method=method)
    assert sum("task" in step.terms for step in found) == 7
    assert trained(method, run) is run.average


CUTS = [2, 3, 5, 6, 8]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run saw, the run at its end, and what was saved after some steps."""
    run, pair, folder = start(), seen(make_batch(labeled=6, unlabeled=8)), tmp_path_factory.mktemp("whole")
    for step in walk(run, pair):
        if step.number in CUTS:
            torch.save(run.state_dict(), folder / f"{step.number}.pt")
    return pair, run, folder


@pytest.mark.parametrize("cut", CUTS)
def test_cut_and_continued_is_bit_equal_to_never_cut(whole, cut):
    pair, whole, folder = whole
    second = start()
    torch.manual_seed(99)
    second.load_state_dict(torch.load(folder / f"{cut}.pt", weights_only=True))
    steps(second, pair)
    assert second.step == STEPS
    for part in ("student", "average"):
        assert same(weights(getattr(second, part)), weights(getattr(whole, part)))
    assert same(weights(second.features.average), weights(whole.features.average))
    assert same(weights(second.translator.critics), weights(whole.translator.critics))


def test_maps_run_through_all_stages_and_constant_images_stay_finite():
    torch.manual_seed(3)
    run = begin(SMALL, Pixels(), SETTINGS, size=32)
    labels, none = (torch.full((2, 32, 32), label) for label in (1, IGNORE))
    flat = Pair(torch.zeros(2, 3, 32, 32), labels, torch.ones(2, 3, 32, 32), none, torch.arange(2))
    assert len(steps(run, flat)) == STEPS
    for part in (run.student, run.average, run.features.critic, run.translator.generators, run.translator.critics):
        assert all(x.isfinite().all() for x in part.state_dict().values())


def test_stages_without_a_step_are_refused():
    with pytest.raises(BadInput, match=r"translating is 0\.6 and aligning 0\.4 of the steps, which leaves none"):
        CyCADAStages(translating=0.6, aligning=0.4)
    with pytest.raises(BadInput, match="1 steps leave a stage of cycada without any"):
        SMALL.ends(1)
    assert SMALL.ends(STEPS) == (3, 6)
