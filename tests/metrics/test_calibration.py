import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.metrics.calibration import (
    aligned,
    alignment,
    calibrated,
    cautious_temperature,
    fit_temperature,
    lowest_threshold,
    precision_bound,
    promised_threshold,
    samples_needed,
    thresholds,
)
from tutelage.types import BadInput


@pytest.fixture
def seeded_numpy():
    return np.random.default_rng(0)


NONE = np.zeros((0, 2), np.float32)
PROOF = {"target": 0.9, "confidence": 0.9, "floor": 0.5}
LIMITS = PROOF | {"cap": 0.995}


def test_bound_by_hand():
    # All n right: the p with p^n = 1 - confidence.
    assert precision_bound(22, 22, 0.9) == pytest.approx(0.1 ** (1 / 22))
    assert precision_bound(0, 5, 0.9) == 0.0
    # One of two right: P(X >= 1) = 1 - (1 - p)^2 = 0.1.
    assert precision_bound(1, 2, 0.9) == pytest.approx(1 - math.sqrt(0.9))


def test_samples_needed_is_where_the_bound_crosses():
    needed = samples_needed(0.9, 0.9)
    assert needed == 22
    assert precision_bound(needed, needed, 0.9) >= 0.9 > precision_bound(needed - 1, needed - 1, 0.9)
    assert samples_needed(0.9, 1 - 0.9**4) == 4  # an error of rounding takes no fifth


def test_temperature_undoes_a_known_scaling(seeded_numpy):
    logits = seeded_numpy.normal(size=(4000, 5)) * 2
    # Gumbel's trick draws from softmax(logits).
    labels = (logits + seeded_numpy.gumbel(size=logits.shape)).argmax(1)
    assert fit_temperature(3.0 * logits, labels) == pytest.approx(3.0, rel=0.1)
    assert fit_temperature(np.zeros((0, 5)), np.zeros(0, np.int64)) == 1.0


def test_the_cautious_temperature_by_hand():
    # Odds of e: of n samples, k wrong, b = 1 / T has the log-likelihood (n - k) log s(b) + k log s(-b), s the logistic
    # function; the fitted b has s(b) = (n - k) / n. z of a confidence of 0.9 is 1.2816.
    logits, labels = np.array([[1.0, 0.0]] * 40), np.array([0] * 32 + [1] * 8)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(1 / math.log(4), rel=1e-3)

    def surprise(temperature):
        return 32 * math.log1p(math.exp(-1 / temperature)) + 8 * math.log1p(math.exp(1 / temperature))

    cautious = cautious_temperature(logits, labels, fitted, 0.9)
    assert cautious > fitted
    assert surprise(cautious) - surprise(fitted) == pytest.approx(1.2816**2 / 2, rel=1e-3)
    assert cautious_temperature(logits, labels, fitted, 0.5) == pytest.approx(fitted)  # as likely as not
    many = cautious_temperature(np.tile(logits, (2500, 1)), np.tile(labels, 2500), fitted, 0.9)
    assert fitted < many < 1.01 * fitted
    assert cautious_temperature(NONE, np.zeros(0, np.int64), 1.0, 0.9) == 20.0  # nothing refutes any


def test_a_holdout_without_a_mistake_makes_no_score_surer():
    assert fit_temperature(np.array([[3.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 1.0
    assert fit_temperature(np.array([[9.0, 0.0], [0.0, 9.0]] * 9), np.array([0, 1] * 8 + [0, 0])) != 1.0


def test_what_is_no_number_or_no_share_is_refused():
    with pytest.raises(BadInput, match="logits hold NaN"):
        fit_temperature(np.array([[0.0, math.nan]]), np.array([0]))
    for wrong in ({"target": 1.0}, {"target": math.nan}, {"confidence": 0.0}, {"confidence": 1.0}):
        with pytest.raises(BadInput, match=r"(target|confidence) is .*: it must be between 0 and 1"):
            thresholds(NONE, np.zeros(0, np.int64), NONE, NONE, **LIMITS | wrong)


def test_temperature_changes_how_sure_an_answer_is_and_never_the_answer(seeded_numpy):
    logits = seeded_numpy.normal(size=(50, 4))
    assert (calibrated(logits, 7.0).argmax(1) == logits.argmax(1)).all()
    np.testing.assert_allclose(calibrated(np.array([[0.0, math.log(4)]]), 2.0), [[1 / 3, 2 / 3]], rtol=1e-6)


def test_alignment_makes_classes_as_frequent_as_asked(seeded_numpy):
    probabilities = calibrated(seeded_numpy.normal((2, 0, 0, -1), size=(500, 4)), 1.0)
    wanted = np.array([0.1, 0.2, 0.3, 0.4])
    moved = aligned(probabilities, alignment(probabilities, wanted))
    np.testing.assert_allclose(moved.mean(axis=0), wanted, atol=1e-3)
    np.testing.assert_allclose(moved.sum(axis=1), 1, atol=1e-6)


def test_alignment_of_what_is_aligned_changes_nothing():
    probabilities = np.array([[0.8, 0.2], [0.2, 0.8]], np.float32)
    np.testing.assert_allclose(alignment(probabilities, np.array([0.5, 0.5])), [1, 1], atol=1e-5)
    np.testing.assert_array_equal(alignment(np.zeros((0, 2), np.float32), np.array([0.5, 0.5])), [1, 1])


def test_lowest_threshold_by_hand():
    # 30 right answers above one mistake at 0.6 and ten right ones below it: 40 of 41 still prove 0.9 at 90 %.
    scores = np.concatenate([np.full(30, 0.9), [0.6], np.full(10, 0.55)]).astype(np.float32)
    right = np.array([True] * 30 + [False] + [True] * 10)
    value, kept, correct, bound = lowest_threshold(scores, right, **PROOF)
    assert (value, kept, correct) == (pytest.approx(0.55), 41, 40)
    assert bound == pytest.approx(precision_bound(40, 41, 0.9))


def test_no_score_proves_nothing():
    assert lowest_threshold(np.zeros(0, np.float32), np.zeros(0, bool), **PROOF) is None
    assert [one.evidence for one in thresholds(NONE, np.zeros(0, np.int64), NONE, NONE, **LIMITS)] == ["none", "none"]


def test_equal_scores_are_kept_or_left_together():
    scores = np.full(60, 0.8, np.float32)
    right = np.array([True] * 30 + [False] * 30)
    assert lowest_threshold(scores, right, **PROOF) is None


def test_scores_below_the_floor_are_never_kept():
    scores, right = np.full(100, 0.4, np.float32), np.ones(100, bool)
    assert lowest_threshold(scores, right, **PROOF) is None


def test_a_hard_class_is_not_vouched_for_by_easy_ones():
    # Class 0: 40 of 40 right. Class 1: four images, the surest of them wrong.
    probabilities = np.array([[0.9, 0.1]] * 40 + [[0.05, 0.95], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]], np.float32)
    labels = np.array([0] * 40 + [0, 1, 1, 1])
    easy, hard = thresholds(probabilities, labels, NONE, NONE, **LIMITS)
    assert (easy.evidence, easy.kept, easy.correct) == ("class", 40, 40)
    assert hard.evidence == "pooled"
    assert hard.threshold > 0.95
    assert hard.kept == 0


def test_promise_by_hand():
    scores = np.array([0.7, 0.99, 0.91, 0.95])
    assert promised_threshold(scores, scores, 0.95) == 0.91  # 0.99, 0.95 and 0.91 average 0.95; with 0.7 they do not
    assert promised_threshold(scores, scores - 0.02, 0.95) == 0.95  # the two surest average 0.97, less 0.02
    assert promised_threshold(scores, scores, 0.999) > 1
    assert promised_threshold(np.zeros(0), np.zeros(0), 0.9) > 1


def test_equal_scores_promise_together():
    scores = np.array([0.9, 0.99, 0.9, 0.9])
    assert promised_threshold(scores, scores, 0.94) == 0.99  # one of the three would pass with it, all do not
    assert promised_threshold(scores, scores, 0.92) == 0.9


def test_a_class_of_few_images_must_also_promise_on_the_pool():
    # 40 sure and right images of class 0 prove the pool; class 1 has three, right too, but is unsure on the pool.
    probabilities = np.array([[0.97, 0.03]] * 40 + [[0.02, 0.98]] * 3, np.float32)
    labels = np.array([0] * 40 + [1] * 3)
    unseen = np.array([[0.3, 0.7]] * 30 + [[0.01, 0.99]], np.float32)
    blind = thresholds(probabilities, labels, NONE, NONE, **LIMITS)[1]
    careful = thresholds(probabilities, labels, unseen, unseen, **LIMITS)[1]
    assert blind.threshold == LIMITS["cap"]  # where the pool was not asked, nothing is promised
    assert careful.threshold == pytest.approx(0.99)


def test_a_class_of_few_images_promises_by_what_its_scores_are_worth_at_least():
    probabilities = np.array([[0.97, 0.03]] * 40 + [[0.02, 0.98]] * 3, np.float32)
    labels = np.array([0] * 40 + [1] * 3)
    unseen = np.array([[0.02, 0.98]] * 30 + [[0.01, 0.99]] * 10, np.float32)
    cautious = np.array([[0.1, 0.9]] * 30 + [[0.04, 0.96]] * 10, np.float32)
    (own, sure), (same, careful) = (thresholds(probabilities, labels, unseen, c, **LIMITS) for c in (unseen, cautious))
    assert own == same  # evidence of its own is not moved
    assert (sure.threshold, careful.threshold) == (pytest.approx(0.98), pytest.approx(0.99))


def test_a_class_that_cannot_meet_the_target_is_closed():
    probabilities = np.array([[0.9, 0.1]] * 40, np.float32)
    rule, _ = thresholds(probabilities, np.array([0, 1] * 20), NONE, NONE, **LIMITS)
    assert rule.threshold is None
    assert (rule.evidence, rule.kept, rule.correct, rule.lower_bound) == ("class", 0, 0, 0)


def test_images_below_the_floor_are_no_evidence_of_their_class():
    # 40 sure and right images of class 0; 15 of class 1, and ten more that no threshold could keep.
    probabilities = np.array([[0.97, 0.03, 0.0]] * 40 + [[0.02, 0.98, 0.0]] * 15 + [[0.3, 0.4, 0.3]] * 10, np.float32)
    labels = np.array([0] * 40 + [1] * 15 + [0] * 10)
    rule = thresholds(probabilities, labels, probabilities[:55], probabilities[:55], **LIMITS)[1]
    assert (rule.evidence, rule.samples, rule.kept) == ("pooled", 15, 15)


def test_too_little_evidence_leaves_only_the_cap():
    rules = thresholds(np.array([[0.9, 0.1]] * 5, np.float32), np.zeros(5, np.int64), NONE, NONE, **LIMITS)
    assert [(rule.threshold, rule.evidence) for rule in rules] == [(0.995, "none")] * 2


def test_the_cap_lowers_nothing_that_the_holdout_showed():
    # Class 0: 30 right answers at 0.999, above as many mistakes at 0.9965, above the cap.
    probabilities = np.array([[0.999, 0.001]] * 30 + [[0.9965, 0.0035]] * 30, np.float32)
    labels = np.array([0] * 30 + [1] * 30)
    own, empty = thresholds(probabilities, labels, probabilities, probabilities, **LIMITS)
    assert (own.kept, own.correct, own.threshold) == (30, 30, pytest.approx(0.999))
    assert empty.threshold == pytest.approx(0.999)  # that of all, where its own scores promise nothing
    # Of few images: the cap without evidence, but above every mistake that was seen.
    mistaken = np.array([[0.9965, 0.0035], [0.9, 0.1]], np.float32)
    few = thresholds(mistaken, np.array([1, 1]), NONE, NONE, **LIMITS)
    assert [one.threshold > 0.9965 for one in few] == [True, False]


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.5, 0.99))
def test_bound_is_below_what_was_seen_and_grows_with_it(a, b, confidence):
    correct, kept = min(a, b), max(a, b, 1)
    bound = precision_bound(correct, kept, confidence)
    assert 0 <= bound <= max(correct / kept, 0)
    assert precision_bound(correct, kept + 1, confidence) <= bound + 1e-12


def test_promise_is_kept_on_fresh_data(seeded_numpy):
    """The rule that the pipeline relies on: over many draws, a kept class is below target in at most 1 - confidence."""
    broken = total = 0
    for _ in range(200):
        p = seeded_numpy.uniform(0.5, 1, size=400)
        right = seeded_numpy.uniform(size=400) < p
        found = lowest_threshold(p.astype(np.float32), right, **PROOF)
        if found is not None:
            total += 1
            t = found[0]
            broken += (1 + t) / 2 < 0.9  # precision of scores uniform on [t, 1] that mean what they say
    assert total > 50
    assert broken / total < 0.2
