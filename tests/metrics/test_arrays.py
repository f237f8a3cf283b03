"""What is refused with a word: of labels from 1, of logits and of per cent came numbers that meant nothing."""

import numpy as np
import pytest
import torch

from tutelage.metrics.arrays import check_between, check_labels, check_logits, check_probabilities
from tutelage.metrics.calibration import alignment, cautious_temperature, fit_temperature, thresholds
from tutelage.metrics.classification import (
    confusion,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from tutelage.types import BadInput

LOGITS, LABELS = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [1.0, 0.0, 3.0]]), np.array([0, 2, 1])
SURE = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
LIMITS = {"target": 0.9, "confidence": 0.9, "floor": 0.5, "cap": 0.995}

WRONG = {
    "labels from 1, a temperature": (lambda: fit_temperature(LOGITS, LABELS + 1), "labels hold 3, but 3 classes are 0"),
    "ignored": (lambda: fit_temperature(LOGITS, LABELS - 1), "labels hold -1, .* 0 to 2. Subtract 1"),
    "labels from 1, cautious": (lambda: cautious_temperature(LOGITS, LABELS + 1, 1.0, 0.9), "labels hold 3"),
    "per cent": (lambda: cautious_temperature(LOGITS, LABELS, 1.0, 90.0), "confidence is 90.0: .* Divide per cent"),
    "labels from 1, thresholds": (lambda: thresholds(SURE, LABELS + 1, SURE, SURE, **LIMITS), "labels hold 3"),
    "logits, thresholds": (lambda: thresholds(LOGITS, LABELS, SURE, SURE, **LIMITS), "probabilities have a row of 3 "),
    "logits of the pool": (lambda: thresholds(SURE, LABELS, SURE, LOGITS, **LIMITS), "cautious have a row of 3 in all"),
    "logits, alignment": (lambda: alignment(LOGITS, np.ones(3) / 3), "from 0 to 2: a row is a distribution. Of logits"),
    "logits, ece": (lambda: expected_calibration_error(LOGITS, LABELS, bins=5), r"calibrated\(logits, 1\.0\)"),
    "labels from 1, reliability": (lambda: reliability(SURE, LABELS + 1, bins=5), "labels hold 3"),
    "labels from 1, likelihood": (lambda: negative_log_likelihood(SURE, LABELS + 1), "labels hold 3"),
    "labels from 1, confusion": (lambda: confusion(LABELS, LABELS + 1, 3), "predicted hold 3"),
    "fewer answers": (lambda: check_labels(LABELS[1:], 3), "labels are of 2 images and answers of 3"),
    "a column of labels": (lambda: check_labels(LABELS[:, None], 3, 3), r"labels are int64 of shape \(3, 1\): give"),
    "one-hot labels": (lambda: check_labels(np.eye(3), 3, 3), r"float64 of shape \(3, 3\): give integers \[3\]"),
    "a tensor": (lambda: check_logits(torch.zeros(3, 3)), r"logits are a Tensor: .*\.cpu\(\)\.numpy\(\)"),
    "one class": (lambda: check_probabilities(SURE[:, 0]), r"probabilities are float64 of shape \(3,\): give floats"),
    "NaN": (lambda: check_probabilities(np.full((1, 2), np.nan)), "a row of nan in all"),
    "below 0": (lambda: check_probabilities(np.array([[-1.0, 2.0]])), "from -1 to 2"),
    "nobody sure": (lambda: check_between(target=0.9, confidence=1.0), "confidence is 1.0"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "told"), WRONG.values(), ids=list(WRONG))
def test_what_means_nothing_is_refused(call, told):
    with pytest.raises(BadInput, match=told):
        call()


def test_rounded_and_missing_answers_pass():
    check_probabilities(SURE.astype(np.float16))
    check_probabilities(np.zeros((0, 3)))
    check_labels(LABELS.astype(np.uint8), 3, 3)
    check_labels(np.zeros(0, int), 0, 0)
