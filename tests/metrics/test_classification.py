import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.metrics.classification import (
    accuracy,
    auroc,
    confusion,
    expected_calibration_error,
    f1_score,
    negative_log_likelihood,
    per_class,
    reliability,
    softmax,
)
from tutelage.types import BadInput

# Three classes; class 2 is never answered.
LABELS = np.array([0, 0, 0, 1, 1, 2])
ANSWERS = np.array([0, 0, 1, 1, 1, 0])


def test_accuracy_counts_the_images_named_right():
    assert accuracy(LABELS, ANSWERS) == pytest.approx(4 / 6)


def test_confusion_has_the_truth_in_its_rows():
    assert confusion(LABELS, ANSWERS, 3).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_confusion_takes_the_narrow_integers_of_the_files():
    wide = np.full(3, 99, np.int8)  # 99 * 100 does not fit one byte
    assert confusion(wide, wide, 100)[99, 99] == 3


def test_recall_divides_by_the_truth_and_precision_by_the_answers():
    found = per_class(confusion(LABELS, ANSWERS, 3))
    np.testing.assert_allclose(found.recall, [2 / 3, 1, 0])
    np.testing.assert_allclose(found.precision, [2 / 3, 2 / 3, np.nan])
    assert found.support.tolist() == [3, 2, 1]


def test_recall_of_a_class_without_images_is_not_zero_but_unknown():
    assert np.isnan(per_class(confusion(np.array([0]), np.array([0]), 2)).recall[1])


def test_f1_is_the_harmonic_mean_of_recall_and_precision_and_zero_where_there_is_nothing():
    cells = confusion(LABELS, ANSWERS, 4)  # class 3 is neither there nor said
    found = f1_score(np.diag(cells), cells.sum(axis=0), cells.sum(axis=1))
    np.testing.assert_allclose(found, [4 / 6, 4 / 5, 0, 0])


def two_classes(confidence, correct, kind=np.float64):
    """Probabilities of two classes whose first is the highest, and labels that make an answer right or wrong."""
    high = np.array(confidence, kind)
    return np.stack([high, 1 - high], axis=1), np.where(correct, 0, 1)


def test_a_bin_holds_its_upper_end_and_not_its_lower():
    found = reliability(*two_classes([0.6, 0.6000001, 0.8, 1.0], [True, False, True, True]), bins=5)
    assert [b["count"] for b in found] == [1, 2, 1]  # (.4, .6], (.6, .8], (.8, 1]
    assert found[0] == {"confidence": 0.6, "accuracy": 1.0, "count": 1}
    assert found[1]["confidence"] == pytest.approx(0.70000005)
    assert found[1]["accuracy"] == 0.5


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_bins_do_not_depend_on_the_precision_of_the_confidence(kind):
    probabilities, labels = two_classes([0.6, 0.7, 0.8, 0.9, 1.0], [True] * 5, kind)
    assert [b["count"] for b in reliability(probabilities, labels, bins=10)] == [1] * 5


def test_calibration_error_by_hand():
    given = two_classes([0.6, 0.6, 0.9, 0.9, 0.9, 0.9], [True, False, True, True, True, False])
    # gaps: |0.5 - 0.6| over 2 images, |0.75 - 0.9| over 4: (2 * 0.1 + 4 * 0.15) / 6
    assert expected_calibration_error(*given, bins=10) == pytest.approx(0.8 / 6)


def test_one_bin_leaves_the_gap_of_the_means():
    given = two_classes([0.6, 0.8, 1.0], [True, True, False])
    assert expected_calibration_error(*given, bins=1) == pytest.approx(0.8 - 2 / 3)


@given(st.lists(st.tuples(st.floats(0.51, 1), st.booleans()), max_size=40), st.integers(1, 20))
def test_calibration_error_sees_no_order_and_stays_a_share(pairs, bins):
    probabilities, labels = two_classes([p[0] for p in pairs], [p[1] for p in pairs])
    error = expected_calibration_error(probabilities, labels, bins=bins)
    assert 0 <= error <= 1
    assert error == pytest.approx(expected_calibration_error(probabilities[::-1], labels[::-1], bins=bins))
    assert sum(b["count"] for b in reliability(probabilities, labels, bins=bins)) == len(pairs)


def test_likelihood_by_hand_and_a_zero_stays_finite():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert negative_log_likelihood(probabilities, np.array([0, 1])) == pytest.approx((math.log(2) - math.log(0.75)) / 2)
    assert 80 < negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) < 90


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0 + math.log(3)]], np.float64)), [[0.25, 0.75]])
    assert softmax(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_no_images_is_an_error_and_not_a_number():
    none = np.zeros(0, np.int64)
    for call in (
        lambda: accuracy(none, none),
        lambda: negative_log_likelihood(np.zeros((0, 2)), none),
    ):
        with pytest.raises(ValueError, match="no images"):
            call()


def test_the_area_counts_the_pairs_that_are_in_order():
    """Positives 3 and 1 against negatives 2, 1 and 0: 3 and 1.5 of 3 pairs in order, a tie being half of one."""
    scores, positive = np.array([3.0, 1.0, 2.0, 1.0, 0.0]), np.array([True, True, False, False, False])
    assert auroc(scores, positive) == 4.5 / 6
    assert auroc(-scores, positive) == 1.5 / 6
    assert auroc(scores, positive.astype(int)) == 4.5 / 6
    with pytest.raises(BadInput, match=r"positive holds \[-1, 1\]: give True for a positive"):
        auroc(scores, 2 * positive - 1)
    with pytest.raises(ValueError, match="5 positives and 0 negatives"):
        auroc(scores, np.ones(5, bool))
