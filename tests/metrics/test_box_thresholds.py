import numpy as np
import pytest
from scenes_found import found, given, guesses, nothing_found, nothing_given, random_scenes
from scipy.stats import norm

from tutelage.data.boxes import Found
from tutelage.metrics.box_matching import match
from tutelage.metrics.box_thresholds import (
    Platt,
    count_matched,
    fit_scores,
    judged,
    mixture_thresholds,
    stac_filter,
    thresholds,
)
from tutelage.metrics.calibration import precision_bound

TWO = ["cat", "dog"]
A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [80, 80, 90, 90]
LIMITS = {"target": 0.9, "confidence": 0.9, "floor": 0.3, "cap": 0.99}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def images_of(scores, right, label=0):
    """One image a box: on the object of its class or away from it."""
    scenes = [given([A], [label]) for _ in scores]
    said = [found([A if hit else FAR], [label], [value]) for value, hit in zip(scores, right, strict=True)]
    return scenes, said


def test_a_box_is_right_by_place_and_class_and_one_on_a_crowd_is_no_evidence():
    scenes = [given([A, B, [40, 40, 90, 90]], [0, 1, 0], [False, False, True]), nothing_given()]
    said = [found([A, B, FAR, FAR], [0, 0, 0, 1], [0.9, 0.8, 0.7, 0.6]), found([A], [1], [0.5])]
    evidence = judged(scenes, said)
    np.testing.assert_allclose(evidence.guesses.scores, [0.9, 0.8, 0.6, 0.5])
    np.testing.assert_array_equal(evidence.guesses.classes, [0, 0, 1, 1])
    np.testing.assert_array_equal(evidence.right, [True, False, False, False])
    assert len(judged([], []).right) == 0
    with pytest.raises(ValueError, match="zip"):
        judged(scenes, said[:1])


def test_thresholds_by_hand():
    """30 right boxes above one mistake at 0.6 and ten right ones below it: 40 of 41 still prove 0.9 at 90 %."""
    scenes, said = images_of([0.9] * 30 + [0.6] + [0.55] * 10 + [0.4] * 30, [1] * 30 + [0] + [1] * 10 + [0] * 30)
    cat, dog = thresholds(scenes, said, said, TWO, **LIMITS)
    assert (cat.evidence, cat.samples, cat.kept, cat.correct) == ("class", 71, 41, 40)
    assert cat.threshold == pytest.approx(0.55)
    assert cat.lower_bound == pytest.approx(precision_bound(40, 41, 0.9))
    assert (dog.evidence, dog.samples) == ("pooled", 0)
    assert dog.threshold == LIMITS["cap"]  # the pool has no box of it that could promise anything


def test_a_stricter_overlap_asks_for_a_higher_threshold():
    scenes = [given([A], [0]) for _ in range(80)]
    said = [found([A if i % 2 else [0, 0, 10, 6]], [0], [0.9 if i % 2 else 0.5]) for i in range(80)]
    loose = thresholds(scenes, said, said, TWO, **LIMITS)[0]
    strict = thresholds(scenes, said, said, TWO, iou=0.75, **LIMITS)[0]
    assert (loose.threshold, strict.threshold) == (pytest.approx(0.5), pytest.approx(0.9))


def test_boxes_below_the_floor_do_not_change_the_threshold_of_their_class():
    """Fifteen right boxes are too few to prove it; wrong ones that no threshold could keep make them no more."""
    cats = images_of([0.95] * 40, [1] * 40)
    limits = []
    for junk in (0, 7, 30):
        scenes, said = images_of([0.97] * 15 + [0.03] * junk, [1] * 15 + [0] * junk, label=1)
        said = [*cats[1], *said]
        limits.append(thresholds([*cats[0], *scenes], said, said[:55], TWO, **LIMITS))
    assert limits[0] == limits[1] == limits[2]
    assert limits[0][1].evidence == "pooled"
    assert limits[0][1].kept == 15


def test_a_class_of_mistakes_keeps_nothing_and_without_a_holdout_only_the_cap_is_kept():
    scenes, said = images_of([0.9] * 40, [0] * 40)
    assert thresholds(scenes, said, said, TWO, **LIMITS)[0].threshold is None
    none = thresholds([], [], said, TWO, **LIMITS)
    assert [(one.threshold, one.evidence) for one in none] == [(0.99, "none")] * 2


def test_the_promise_holds_on_other_scenes(rng):
    limits = LIMITS | {"target": 0.8}

    def detect(scenes, seed):
        """Scores that tell right boxes from wrong ones, but not always."""
        answers = guesses(scenes, seed, noise=0.05, spurious=4)
        truth = [match(*pair).right for pair in zip(scenes, answers, strict=True)]
        scores = [rng.beta(2 + 6 * right, 8 - 6 * right).astype(np.float32) for right in truth]
        return [one._replace(scores=two) for one, two in zip(answers, scores, strict=True)]

    kept = []
    for trial in (0, 10):
        scenes, others = random_scenes(trial, 250), random_scenes(trial + 1, 250)
        said, unseen = detect(scenes, trial + 2), detect(others, trial + 3)
        evidence = judged(others, unseen)
        for label, rule in enumerate(thresholds(scenes, said, unseen, ["cat", "dog", "hen"], **limits)):
            assert rule.evidence == "class"
            some = (evidence.guesses.classes == label) & (evidence.guesses.scores >= rule.threshold)
            kept.append(evidence.right[some].mean())
    assert np.mean(np.array(kept) >= 0.8) >= 5 / 6  # the confidence is 0.9
    assert np.mean(kept) < 0.9  # and not by keeping only the surest


def test_platt_finds_a_known_distortion(rng):
    truth = rng.uniform(0.02, 0.98, 6000)
    right = rng.random(6000) < truth
    odds = np.log(truth / (1 - truth))
    distorted = 1 / (1 + np.exp(-(odds - 0.5) / 0.4))  # so that 0.4 * logit + 0.5 undoes it
    fitted = fit_scores(distorted, right)
    assert fitted == (pytest.approx(0.4, rel=0.1), pytest.approx(0.5, abs=0.1))
    np.testing.assert_allclose(fitted(distorted), truth, atol=0.03)


def test_platt_keeps_the_order_and_never_says_never(rng):
    scores = np.sort(rng.random(50)).astype(np.float32)
    for right in (
        np.zeros(50, bool),
        np.ones(50, bool),
        np.arange(50) < 25,
    ):  # even where sure boxes are the wrong ones
        calibrated = fit_scores(scores, right)(scores)
        assert (np.diff(calibrated) >= 0).all()
        assert calibrated.min() > 0
        assert calibrated.max() < 1
    assert calibrated.dtype == np.float32
    assert fit_scores(scores[:0], np.zeros(0, bool)) == Platt(1, 0)
    np.testing.assert_allclose(Platt(1, 0)(np.array([0, 0.25, 1], np.float32)), [1e-6, 0.25, 1 - 1e-6], rtol=1e-3)


def test_scores_of_nothing_and_of_one_have_odds_of_a_millionth():
    scores, right = np.array([1.0, 0.0, 0.7, 0.4, 0.2]), np.array([True, False, True, False, True])
    assert fit_scores(scores, right) == fit_scores(np.clip(scores, 1e-6, 1 - 1e-6), right)


def test_scores_that_part_right_from_wrong_by_a_hair_become_no_step():
    """The scale is within e^-3 and e^3."""
    right, close = np.arange(20) < 10, np.r_[np.full(10, 0.5001), np.full(10, 0.4999)]
    assert fit_scores(close, right).scale == pytest.approx(np.exp(3))
    assert fit_scores(close, ~right).scale == pytest.approx(np.exp(-3))


def test_platts_targets_by_hand():
    """Equal scores tell nothing: the chance is the mean of his targets, (3 * 4/5 + 1 * 1/3) / 4."""
    fitted = fit_scores(np.full(4, 0.5), np.array([True, True, True, False]))
    assert fitted(np.array([0.5]))[0] == pytest.approx((3 * 4 / 5 + 1 / 3) / 4, abs=1e-4)


def test_counts_are_matched_by_hand():
    wanted = np.array([1, 0.5])  # one cat and half a dog an image
    scores = [0.95, 0.85, 0.75, 0.65]
    pool = [found([A] * 4, [0] * 4, scores), nothing_found(), nothing_found(), found([B] * 2, [1] * 2, scores[:2])]
    # four images: four cats, and two dogs. All four cats: at most 0.65. Both dogs: at most 0.85. The highest counts.
    np.testing.assert_allclose(count_matched(wanted, pool), [0.65, 0.85])
    assert count_matched(wanted, pool[:2]).tolist() == [0.85, 1.0]  # two cats of two images; a dog: none
    np.testing.assert_array_equal(count_matched(wanted, []), [1, 1])
    np.testing.assert_array_equal(count_matched(np.zeros(2), pool), [1, 1])


def test_one_image_is_a_pool():
    assert count_matched(np.ones(1), [found([A] * 2, [0] * 2, [0.9, 0.5])]).tolist() == [0.9]


def test_counts_never_go_below_a_tenth():
    assert count_matched(np.ones(1), [found([A], [0], [0.05])])[0] == 1.0  # nothing to be had: the highest


def test_two_components_part_where_their_densities_cross(rng):
    low, high = rng.normal(0.2, 0.05, 4000), rng.normal(0.7, 0.05, 4000)
    said = [found([A] * 8000, [0] * 8000, np.concatenate([low, high]))]
    cat, dog = mixture_thresholds(said, TWO, fallback=0.9)
    assert cat == (pytest.approx(0.45, abs=0.01), "")  # equal shares and widths: half way
    assert dog == (0.9, "0 boxes are fewer than 20")
    assert mixture_thresholds(said, TWO, fallback=0.9)[0] == cat


def test_twenty_boxes_are_enough_to_part():
    scores = np.concatenate([np.linspace(0.1, 0.2, 10), np.linspace(0.8, 0.9, 10)])
    cat = mixture_thresholds([found([A] * 20, [0] * 20, scores)], TWO[:1], fallback=0.9)[0]
    assert cat == (pytest.approx(0.5), "")


def test_the_larger_component_reaches_further(rng):
    """Shares 9 to 1, variances v: half way plus v log 9 / distance."""
    scores = np.concatenate([rng.normal(0.3, 0.05, 9000), rng.normal(0.6, 0.05, 1000)])
    cat = mixture_thresholds([found([A] * 10_000, [0] * 10_000, scores)], TWO[:1], fallback=0.9)[0]
    assert cat.threshold == pytest.approx(0.45 + 0.05**2 * np.log(9) / 0.3, abs=0.005)


def test_components_of_all_widths_and_shares_are_those_of_the_textbook():
    """Expectation and maximisation to the end; the threshold is where both densities times their shares are equal."""
    near, far = (norm.ppf((np.arange(n) + 0.5) / n, *of) for n, of in ((60, (0.3, 0.12)), (140, (0.62, 0.08))))
    scores = np.concatenate([near, far]).astype(np.float32)
    threshold = mixture_thresholds([found([A] * 200, [0] * 200, scores)], TWO[:1], fallback=0.9)[0].threshold
    x = scores.astype(np.float64)
    mean, width, share = np.array([x.min(), x.max()]), np.full(2, x.std()), np.full(2, 0.5)
    for _ in range(1000):
        density = share * norm.pdf(x[:, None], mean, width)
        part = density / density.sum(1, keepdims=True)
        share, mean = part.mean(0), part.T @ x / part.sum(0)
        width = np.sqrt((part * (x[:, None] - mean) ** 2).sum(0) / part.sum(0))
    low, high = share * norm.pdf(threshold, mean, width)
    assert mean[0] < threshold < mean[1]
    assert low == pytest.approx(high, rel=1e-6)


def test_scores_from_the_other_end_part_at_the_other_end():
    share = (np.arange(40) + 0.5) / 40

    def part(x):
        return mixture_thresholds([found([A] * 40, [0] * 40, x)], TWO[:1], fallback=0.9)[0]

    skewed = -0.15 * np.log(1 - share)  # both means fall in the first round
    assert part(skewed).threshold + part(1 - skewed).threshold == pytest.approx(1, abs=1e-4)
    assert part(norm.ppf(share, 0.5, 0.12)) == (pytest.approx(0.5, abs=1e-4), "")  # of near components, too


PEAK = np.concatenate([np.linspace(0.48, 0.52, 41), np.linspace(0.1, 0.95, 15)])  # one component lies within the other


@pytest.mark.parametrize("scores", [np.full(30, 0.4), np.linspace(0.4, 0.4001, 19), PEAK, 1 - PEAK])
def test_scores_that_do_not_part_take_the_fallback_and_say_why(scores):
    one = mixture_thresholds([found([A] * len(scores), [0] * len(scores), scores)], TWO[:1], fallback=0.9)[0]
    assert one.threshold == 0.9
    assert one.note


@pytest.mark.parametrize(
    ("scores", "kept"),
    [([0.95, 0.4], [1, 0]), ([0.6, 0.4], [1, 0]), ([0.95, 0.92, 0.89], [1, 1, 0]), ([0.5, 0.5], [1, 1]), ([], [])],
)
def test_stac_keeps_the_best_of_every_image(scores, kept):
    assert stac_filter(np.array(scores, np.float32)).tolist() == kept
    assert stac_filter(np.array([0.9], np.float32)).tolist() == [True]
    assert stac_filter(np.array([0.6, 0.55], np.float32), tau=0.5).tolist() == [True, True]


def test_found_is_not_changed():
    said = [found([A, B], [0, 1], [0.9, 0.8])]
    copy = Found(*(column.copy() for column in said[0]))
    thresholds([given([A], [0])], said, said, TWO, **LIMITS)
    for before, after in zip(copy, said[0], strict=True):
        np.testing.assert_array_equal(before, after)
