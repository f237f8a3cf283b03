from functools import partial
from itertools import islice

import pytest
import torch
from tiny import Pixels, Tiny, make_batch

from tutelage.train.adaptsegnet import AdaptSegNet, Levels
from tutelage.train.adversarial import Pair, pairs
from tutelage.train.bdl import BDL, TRANSLATION, begin, class_thresholds, fit, pseudo_labels
from tutelage.train.cyclegan import CycleGAN
from tutelage.train.settings import Optimiser
from tutelage.types import IGNORE, BadInput

SETTINGS, CPU = Optimiser(lr=0.05, warmup_steps=1), torch.device("cpu")
SMALL = BDL(
    translate=CycleGAN(width=2, blocks=1, critic_width=2, history=2, perceptual=0.1, rebuilt=1.0),
    align=AdaptSegNet(critic_width=2), steps=2, rounds=2,
)  # fmt: skip


def sure(*tops):
    """Two classes, the first predicted, with these probabilities where above a half."""
    top = torch.tensor(tops)
    return torch.stack([top, 1 - top], dim=1)


def test_thresholds_by_hand():
    """Of 0.1 to 0.95 of one class of many, the median, 0.6; at most 0.9; 0 for a class that nothing is."""
    rows = torch.zeros(5, 12)
    rows[:, 1:] = 0.05
    rows[:, 0] = torch.tensor([0.1, 0.2, 0.6, 0.8, 0.95])
    assert class_thresholds(*rows.max(1), 12, cap=0.9)[0] == pytest.approx(0.6)
    assert class_thresholds(*sure(0.99, 0.99, 0.99).max(1), 2, cap=0.9).tolist() == pytest.approx([0.9, 0.0])


def labelled(said, own=None):
    top, guess = said.max(1)
    return pseudo_labels(top, guess, 2, cap=0.9, own=torch.ones_like(guess, dtype=torch.bool) if own is None else own)


def test_what_lies_below_its_class_is_ignored():
    said = torch.cat([sure(0.6, 0.7, 0.8), sure(0.4, 0.3, 0.2)])
    assert labelled(said).tolist() == [IGNORE, IGNORE, 0, IGNORE, IGNORE, 1]
    maps = said.T[None, :, :, None]  # the same as pixels of one image
    assert labelled(maps)[0, :, 0].tolist() == [IGNORE, IGNORE, 0, IGNORE, IGNORE, 1]


def test_what_surrounds_an_image_is_not_named_and_moves_no_threshold():
    """Three pixels are the image's, whose element at round(3 / 2) = 2 is 0.8; with those around it, of six, 0.85."""
    maps = sure(0.6, 0.7, 0.8, 0.85, 0.9, 0.95).T[None, :, :, None]
    own = (torch.arange(6) < 3)[None, :, None]
    assert labelled(maps)[0, :, 0].tolist() == [IGNORE] * 3 + [0] * 3
    assert labelled(maps, own)[0, :, 0].tolist() == [IGNORE, IGNORE, 0] + [IGNORE] * 3
    blank = torch.where(own, 0, IGNORE)
    assert torch.equal(begin(SMALL, Levels(Tiny(4)), blank, SETTINGS, size=8).own, own)


def start(student=None):
    torch.manual_seed(3)
    student = student or Levels(Tiny(4))
    return begin(SMALL, student, torch.zeros(8, dtype=torch.long), SETTINGS, size=8)


def fed(pair, start, stop, pseudo):
    return (pair._replace(pseudo=pseudo[pair.ids]) for _ in range(start, stop))


def walk(run, pair):
    return fit(SMALL, run, partial(fed, pair), lambda: [pair.target[:5], pair.target[5:]], SETTINGS)


def steps(run, pair, number):
    """Up to `number` steps of the whole."""
    return list(islice(walk(run, pair), number))


def seen(batch) -> Pair:
    return next(pairs([batch], device=CPU))


@pytest.fixture
def pair(batch) -> Pair:
    return seen(batch)


def test_phases_follow_each_other(pair):
    found = steps(start(), pair, 99)
    assert [step.number for step in found] == list(range(1, 13))
    kinds = ["critic_there" in step.terms for step in found]
    assert kinds == [True, True, False, False, False, False] * 2
    told = [float(step.terms.get("pseudo", 0)) for step in found]
    assert [value > 0 for value in told] == [False] * 4 + [True] * 2 + [False] * 4 + [True] * 2


def test_self_training_sees_pseudo_labels_of_the_surer_half(pair):
    run = start()
    steps(run, pair, 6)
    kept = run.pseudo != IGNORE
    assert 3 <= kept.sum() <= 8
    assert run.pseudo[kept].max() <= 2


CUTS = [1, 4, 5, 7]  # in each phase, and where a round is over


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What nine steps saw and left, and what was saved after some of them."""
    run, pair, folder = start(), seen(make_batch(labeled=6, unlabeled=8)), tmp_path_factory.mktemp("whole")
    for step in islice(walk(run, pair), 9):
        if step.number in CUTS:
            torch.save(run.state_dict(), folder / f"{step.number}.pt")
    return pair, run.state_dict(), folder


@pytest.mark.parametrize("cut", CUTS)
def test_cut_and_continued_is_bit_equal_to_never_cut(whole, cut):
    pair, other, folder = whole
    second = start()
    torch.manual_seed(99)
    second.load_state_dict(torch.load(folder / f"{cut}.pt", weights_only=True))
    steps(second, pair, 9 - cut)
    one = second.state_dict()
    for part, names in (("translator", ("generators", "critics", "histories")), ("aligner", ("student", "average"))):
        for name in names:
            torch.testing.assert_close(one[part][name], other[part][name], rtol=0, atol=0)
    assert torch.equal(one["pseudo"], other["pseudo"])


def test_maps_run_through_all_phases_and_constant_images_stay_finite():
    torch.manual_seed(3)
    run = begin(SMALL, Pixels(), torch.zeros(2, 32, 32, dtype=torch.long), SETTINGS, size=32)
    none = torch.full((2, 32, 32), IGNORE)
    labels = torch.ones(2, 32, 32, dtype=torch.long)
    flat = Pair(torch.zeros(2, 3, 32, 32), labels, torch.ones(2, 3, 32, 32), none, torch.arange(2))
    steps_ = list(fit(SMALL, run, partial(fed, flat), lambda: [flat.target], SETTINGS))
    assert len(steps_) == 12
    for part in (run.aligner.student, run.aligner.critics, run.translator.generators, run.translator.critics):
        assert all(x.isfinite().all() for x in part.state_dict().values())


def test_weights_of_the_translation_are_the_papers():
    assert (TRANSLATION.cycle, TRANSLATION.identity, TRANSLATION.perceptual, TRANSLATION.rebuilt) == (10, 5, 0.1, 10)
    with pytest.raises(BadInput, match="cap of BDL is 2"):
        BDL(cap=2.0)
