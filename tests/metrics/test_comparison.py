import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.metrics import comparison
from tutelage.metrics.comparison import (
    accuracy_interval,
    changes,
    f1_gain,
    flip_share,
    jensen_shannon,
    paired_bootstrap,
    sign_test,
)
from tutelage.types import BadInput


def compare(candidate, baseline, **settings):
    return paired_bootstrap(
        np.atleast_2d(np.array(candidate, bool)),
        np.atleast_2d(np.array(baseline, bool)),
        **{"resamples": 500, "seed": 0} | settings,
    )


def test_gain_by_hand():
    baseline = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]  # 4 errors
    candidate = [1, 1, 0, 0, 1, 1, 1, 1, 1, 0]  # 3 errors
    found = compare(candidate, baseline)
    assert found.difference.estimate == pytest.approx(0.1)
    assert found.reduction.estimate == pytest.approx(0.25)


def test_seeds_are_averaged_and_may_differ_in_number():
    baseline = [[0, 0, 1, 1], [0, 1, 1, 1]]  # 2 and 1 errors: 1.5 on average
    found = compare([[1, 1, 1, 0]], baseline)
    assert found.reduction.estimate == pytest.approx(1 - 1 / 1.5)
    assert found.difference.estimate == pytest.approx(0.125)


def test_interval_is_that_of_drawing_images_one_by_one():
    """Against the textbook loop over drawn indices, which the counts of kinds replace."""
    rng = np.random.default_rng(5)
    baseline, candidate = rng.random((3, 400)) < 0.75, rng.random((3, 400)) < 0.8
    found = compare(candidate, baseline, resamples=20_000)
    drawn = np.random.default_rng(6).integers(0, 400, (4000, 400))
    a, b = (~candidate).mean(0)[drawn].mean(1), (~baseline).mean(0)[drawn].mean(1)
    np.testing.assert_allclose(found.reduction[1:], np.quantile(1 - a / b, [0.025, 0.975]), atol=0.015)
    np.testing.assert_allclose(found.difference[1:], np.quantile(b - a, [0.025, 0.975]), atol=0.003)


def test_numbers_count_as_right_or_wrong_and_anything_else_is_refused():
    right, wrong, settings = np.ones((1, 4), int), np.zeros((1, 4), int), {"resamples": 9, "seed": 0}
    assert paired_bootstrap(right, wrong, **settings) == compare(right, wrong, resamples=9)
    for bad in (right[:, :0], right[0], 2 * right):
        with pytest.raises(BadInput, match=r"give \[seeds, images\]"):
            paired_bootstrap(bad, bad, **settings)
    with pytest.raises(BadInput, match="4 and 3 images"):
        paired_bootstrap(right, wrong[:, 1:], **settings)


def test_pairing_narrows_the_interval():
    """Same accuracies, once erring on the same images and once not: only pairing sees the difference."""
    baseline = np.arange(1000) >= 200
    nested, apart = np.arange(1000) >= 175, np.arange(1000) < 825
    together, opposed = compare(nested, baseline), compare(apart, baseline)
    assert together.difference.estimate == pytest.approx(opposed.difference.estimate)
    assert together.difference.low > 0 > opposed.difference.low


def test_frames_of_a_video_are_drawn_together():
    """Ten copies of each image hold no more evidence than the image itself; taken one by one they would."""
    rng = np.random.default_rng(1)
    baseline, candidate = rng.random(300) < 0.7, rng.random(300) < 0.8
    labels, answers = rng.integers(0, 3, 300), rng.integers(0, 3, (2, 300))
    frames, settings = np.repeat(np.arange(300), 10), {"resamples": 500, "seed": 0}
    once, wrong = compare(candidate, baseline), compare(candidate[frames], baseline[frames])
    assert compare(candidate[frames], baseline[frames], units=frames) == once
    assert wrong.difference.high - wrong.difference.low < 0.5 * (once.difference.high - once.difference.low)
    right = candidate[None]
    assert accuracy_interval(right[:, frames], units=frames, **settings) == accuracy_interval(right, **settings)
    several = f1_gain(labels[frames], *answers[:, frames], 1, units=frames, **settings)
    assert several == pytest.approx(f1_gain(labels, *answers, 1, **settings))


@pytest.mark.parametrize("names", [1000 * np.arange(1, 21), np.array([f"video {k}" for k in range(10, 30)])])
def test_units_may_have_any_names(names):
    rng = np.random.default_rng(2)
    units, settings = np.repeat(np.arange(20), 3), {"resamples": 300, "seed": 0}
    named, (right, other), labels = names[units], rng.random((2, 60)) < 0.8, rng.integers(0, 2, 60)
    for each in (right, right | True):
        one, same = (accuracy_interval(each[None], units=by, **settings) for by in (units, named))
        assert one == same
    assert compare(right, other, units=named) == compare(right, other, units=units)
    assert changes(right, other, units=named) == changes(right, other, units=units)
    f1 = [f1_gain(labels, right.astype(int), other.astype(int), 1, units=by, **settings) for by in (units, named)]
    assert f1[0] == f1[1]


def test_units_of_unequal_size_are_those_of_drawing_them_one_by_one():
    rng = np.random.default_rng(5)
    units = np.repeat(np.arange(60), rng.integers(1, 12, 60))
    hard = rng.random(60)[units]  # what is on a video decides
    baseline, candidate = rng.random(len(units)) < hard, rng.random(len(units)) < hard + 0.1
    found = compare(candidate, baseline, resamples=20_000, units=units)
    a, b, size = (np.bincount(units, weights=x) for x in (~candidate, ~baseline, np.ones(len(units))))
    drawn = np.random.default_rng(6).integers(0, 60, (20_000, 60))
    by_hand = (b[drawn].sum(1) - a[drawn].sum(1)) / size[drawn].sum(1)
    np.testing.assert_allclose(found.difference[1:], np.quantile(by_hand, [0.025, 0.975]), atol=0.004)


def test_images_are_drawn_for_all_seeds_together():
    """Copies of one seed hold no more evidence than the seed itself."""
    rng = np.random.default_rng(1)
    baseline, candidate = rng.random(300) < 0.7, rng.random(300) < 0.8
    once, often = compare(candidate, baseline), compare([candidate] * 5, [baseline] * 5)
    assert often.difference == pytest.approx(once.difference)


def test_about_ninety_five_of_a_hundred_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    held = 0
    for trial in range(400):
        baseline, candidate = rng.random(300) < 0.7, rng.random(300) < 0.8
        low, high = compare(candidate, baseline, seed=trial).difference[1:]
        held += low <= 0.1 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_a_perfect_baseline_leaves_finite_numbers():
    found = compare([1, 1, 1, 0], [1, 1, 1, 1])
    assert found.reduction.estimate == -1
    assert all(math.isfinite(x) for x in found.reduction)


def test_no_error_on_either_side_is_no_gain():
    assert compare([1] * 20, [1] * 20).reduction == (0, 0, 0)
    one_error = np.arange(10_000) > 0
    assert compare(np.ones(10_000), one_error).reduction.low == 0


def test_equal_seeds_give_equal_intervals_and_order_of_images_does_not_matter():
    rng = np.random.default_rng(3)
    baseline, candidate = rng.random(200) < 0.7, rng.random(200) < 0.8
    order = rng.permutation(200)
    assert compare(candidate, baseline) == compare(candidate[order], baseline[order])
    assert compare(candidate, baseline) != compare(candidate, baseline, seed=1)


def test_ten_thousand_images_and_resamples_take_no_time():
    rng = np.random.default_rng(4)
    start = time.process_time()
    compare(rng.random((3, 10_000)) < 0.8, rng.random((3, 10_000)) < 0.7, resamples=10_000)
    assert time.process_time() - start < 2


def test_draws_come_in_blocks_and_are_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    settings = {"units": np.repeat(np.arange(40), 5), "resamples": 301}
    answers = rng.random(200) < 0.8, rng.random(200) < 0.7
    at_once = compare(*answers, **settings)
    monkeypatch.setattr(comparison, "CELLS", 100)
    assert compare(*answers, **settings) == at_once


def test_accuracy_interval_is_the_binomial_one():
    found = accuracy_interval(np.tile(np.arange(10_000) < 8000, (2, 1)), resamples=20_000, seed=0)  # two seeds alike
    assert found.estimate == 0.8
    half = 1.96 * math.sqrt(0.8 * 0.2 / 10_000)
    np.testing.assert_allclose(found[1:], [0.8 - half, 0.8 + half], atol=3e-4)


def test_twenty_of_twenty_right_are_no_proof_of_perfection():
    """Where images do not differ no draw does; the exact interval of Clopper and Pearson is still one."""
    right, settings = np.ones((3, 20), bool), {"resamples": 500, "seed": 0}
    least = 0.025 ** (1 / 20)  # about 0.83
    assert accuracy_interval(right, **settings) == pytest.approx((1, least, 1))
    assert accuracy_interval(~right, **settings) == pytest.approx((0, 0, 1 - least))
    videos = np.repeat(np.arange(4), 5)
    assert accuracy_interval(right, units=videos, **settings) == pytest.approx((1, 0.025 ** (1 / 4), 1))


@pytest.mark.parametrize(
    ("lost", "gained", "chance"),
    [(0, 0, 1.0), (0, 5, 1.0), (1, 0, 0.5), (3, 0, 1 / 8), (5, 0, 1 / 32), (4, 1, 6 / 32), (3, 3, 42 / 64)],
)
def test_sign_test_counts_the_tosses(lost, gained, chance):
    assert sign_test(lost, gained) == pytest.approx(chance)


def test_a_group_is_one_toss():
    before, after = (np.array(right, bool) for right in ([1, 1, 1, 0, 1, 0], [0, 0, 1, 1, 1, 0]))
    assert changes(before, after) == (2, 1)
    assert changes(before, after, units=np.array([0, 0, 1, 1, 2, 2])) == (1, 1)  # the third changes nothing
    assert changes(before, after, units=np.array([0, 1, 0, 1, 0, 1])) == (1, 0)  # the second loses one and gains one
    frames = np.repeat(np.arange(6), 10)
    assert changes(before[frames], after[frames], units=frames) == changes(before, after)


def test_f1_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    candidate = np.array([0, 0, 1, 1, 0, 2])  # of class 0: 2 found, 3 said, 3 there: 4 / 6
    baseline = np.array([0, 1, 1, 1, 1, 2])  # 1 found, 1 said, 3 there: 2 / 4
    gain = f1_gain(labels, candidate, baseline, 0, resamples=500, seed=0)
    assert gain.estimate == pytest.approx(4 / 6 - 2 / 4)
    half = f1_gain(labels, candidate, baseline, 0, resamples=500, seed=0, confidence=0.5)
    assert gain.low < half.low < gain.estimate < half.high < gain.high
    assert f1_gain(labels, candidate, baseline, 2, resamples=500, seed=0) == (0, 0, 0)
    nobody = np.full(6, 1)
    assert f1_gain(labels, nobody, nobody, 3, resamples=500, seed=0) == (0, 0, 0)  # neither said nor there: no 0 / 0


def test_f1_interval_is_that_of_drawing_images_one_by_one():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 400)
    said = [np.where(rng.random(400) < p, labels, rng.integers(0, 3, 400)) for p in (0.8, 0.7)]
    found = f1_gain(labels, *said, 1, resamples=20_000, seed=0)
    drawn = np.random.default_rng(6).integers(0, 400, (4000, 400))
    scores = []
    for answer in said:
        mine, claimed = (labels == 1)[drawn], (answer == 1)[drawn]
        scores.append(2 * (mine & claimed).sum(1) / (mine.sum(1) + claimed.sum(1)))
    np.testing.assert_allclose(found[1:], np.quantile(scores[0] - scores[1], [0.025, 0.975]), atol=0.006)


def test_divergence_by_hand():
    assert jensen_shannon(np.array([3, 0]), np.array([0, 9])) == pytest.approx(math.log(2))
    assert jensen_shannon(np.array([1, 3]), np.array([10, 30])) == 0
    # m = (3/4, 1/4): H(m) - H(1/2, 1/2) / 2
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) - math.log(2) / 2
    assert jensen_shannon(np.array([1, 1]), np.array([7, 0])) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12))
def test_divergence_is_symmetric_and_bounded(pairs):
    p, q = (np.array(column) for column in zip(*pairs, strict=True))
    if p.sum() and q.sum():
        assert 0 <= jensen_shannon(p, q) <= math.log(2) + 1e-12
        assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))


def test_empty_histograms_and_no_images_are_errors():
    with pytest.raises(ValueError, match="empty histogram"):
        jensen_shannon(np.array([0, 0]), np.array([1, 1]))
    with pytest.raises(ValueError, match="no images"):
        flip_share(np.zeros(0), np.zeros(0))


def test_flips_are_counted_place_by_place():
    assert flip_share(np.array([1, 2, 3, 4]), np.array([1, 2, 4, 3])) == 0.5
