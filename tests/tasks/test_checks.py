from types import SimpleNamespace

import numpy as np
from small_work import small_params

from tasks.answers import Answers
from tasks.checks import Contender, _classes

CLASSES, EACH = 100, 20
LABELS = np.repeat(np.arange(CLASSES), EACH)


def contender(predicted):
    names = [str(image) for image in range(len(LABELS))]
    card = SimpleNamespace(classes=[f"class {place}" for place in range(CLASSES)])
    return Contender("", None, card, Answers(names, LABELS, np.eye(CLASSES, dtype=np.float32)[predicted]))


def equals():
    """Two models that are equally good: of each class four images of five, and any class of the others."""
    rng = np.random.default_rng(10)  # by two thousand draws one of their classes would be lost
    return [np.where(rng.random(len(LABELS)) < 0.8, LABELS, rng.integers(CLASSES, size=len(LABELS))) for _ in range(2)]


def test_of_a_hundred_classes_chance_explains_what_it_does_of_ten():
    new, old = equals()
    found = _classes(contender(new), contender(old), small_params())
    assert found.passed, found.reason
    assert found.candidate < found.champion  # of the class that seems to lose most


def test_a_class_of_a_hundred_that_is_lost_is_told():
    new, old = equals()
    new[LABELS == 7] = 8
    found = _classes(contender(new), contender(old), small_params())
    assert not found.passed
    assert found.name == "F1, worst class class 7"
    assert found.candidate == 0
    assert found.reason.startswith("F1 falls for class 7 (")
    assert "points on 20 images)" in found.reason
