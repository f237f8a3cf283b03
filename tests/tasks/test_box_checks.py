from dataclasses import replace

import numpy as np
import pytest

from tasks import box_checks
from tasks.box_checks import Rival, Rules, gain, slices
from tutelage.data.boxes import Found, Given
from tutelage.metrics.coco import matched

CLASSES = ["cat", "dog"]
RULES = Rules(resamples=300)
IMAGES = 60


def place(image, far=False):
    start = 100.0 if far else float(image % 7)
    return np.array([[start, 0, start + 20, 20]], np.float32)


def rival(name, misses, *, parameters=1000, operations=1000, images=IMAGES):
    """A detector that looks in the wrong place in the images `misses`.

    An image an object: cats in the first half, dogs in the second.
    """
    labels = [np.array([i >= IMAGES // 2], np.int64) for i in range(images)]
    given = [Given(place(i), labels[i], np.zeros(1, bool), np.full(1, 400, np.float32)) for i in range(images)]
    found = [Found(place(i, i in misses), labels[i], np.array([0.9 - i / 1000], np.float32)) for i in range(images)]
    return Rival(name, matched(given, found, CLASSES), parameters, operations, found)


def check(new, fair, old, *, ratio, rules):
    return box_checks.check(new, fair, old, gain(new, fair, rules), ratio=ratio, rules=rules)


def failed(checks):
    return [one.name for one in checks if not one.passed]


BASELINE = rival("baseline", set(range(0, IMAGES, 3)))
BETTER = rival("candidate", set(range(0, IMAGES, 20)))


def test_a_better_student_passes_every_check():
    checks = check(BETTER, BASELINE, BASELINE, ratio=None, rules=RULES)
    assert failed(checks) == []
    assert [one.name.split(",")[0] for one in checks] == ["gain on the baseline", "AP50", "latency", "size"]
    first = checks[0]
    assert first.candidate > first.champion > 0.3
    assert gain(BETTER, BASELINE, RULES).estimate == pytest.approx(first.candidate - first.champion)
    assert "clear of zero" in first.reason


def test_a_student_no_better_than_the_baseline_fails():
    same = check(rival("candidate", set(range(0, IMAGES, 3))), BASELINE, BASELINE, ratio=None, rules=RULES)
    assert failed(same) == ["gain on the baseline"]
    assert "luck" in same[0].reason
    worse = check(BASELINE, BETTER, BETTER, ratio=None, rules=RULES)
    assert "the baseline is better" in worse[0].reason
    assert failed(worse)[0] == "gain on the baseline"


def test_one_box_less_may_be_luck():
    nearly = rival("candidate", set(range(0, IMAGES, 3)) - {0})
    assert failed(check(nearly, BASELINE, BASELINE, ratio=None, rules=RULES)) == ["gain on the baseline"]


def test_the_champion_must_not_lose():
    champion = rival("production", set())
    checks = check(BETTER, BASELINE, champion, ratio=None, rules=RULES)
    assert "AP" in failed(checks)
    lenient = check(BETTER, BASELINE, champion, ratio=None, rules=replace(RULES, margin=0.3, class_margin=0.3))
    assert failed(lenient) == []
    assert lenient[1].rule.endswith("above -30 points")


def test_a_class_that_is_given_up_is_named_even_where_the_whole_gains():
    old = rival("production", set(range(30)))  # finds no cat
    new = rival("candidate", set(range(30, 42)))  # finds all cats, and loses twelve dogs
    checks = check(new, old, old, ratio=None, rules=RULES)
    assert failed(checks) == ["AP50, worst class dog"]
    one = next(one for one in checks if not one.passed)
    assert "dog" in one.reason
    assert "30 objects" in one.reason
    assert one.candidate < one.champion == pytest.approx(1)
    assert failed(check(new, old, old, ratio=None, rules=replace(RULES, class_margin=0.9))) == []


@pytest.mark.parametrize(("dogs", "passed"), [(1, True), (3, True), (9, False)])
def test_a_class_that_is_lost_in_a_few_images_may_be_lost_by_chance(dogs, passed):
    images = IMAGES // 2 + dogs
    old = rival("production", set(range(30)), images=images)  # finds no cat
    new = rival("candidate", set(range(30, images)), images=images)  # finds no dog
    assert ("AP50, worst class dog" not in failed(check(new, old, old, ratio=None, rules=RULES))) == passed


def test_a_class_without_test_objects_is_not_judged():
    new = rival("candidate", set(range(0, 30, 20)), images=30)
    old = rival("baseline", set(range(0, 30, 3)), images=30)
    assert failed(check(new, old, old, ratio=None, rules=RULES)) == []


@pytest.mark.parametrize(
    ("ratio", "operations", "passed"),
    [
        (1.0, 1000, True),
        (1.2, 9000, True),
        (2.0, 1000, False),
        (1.55, 1000, True),
        (1.55, 9000, False),
        (None, 9000, True),
    ],
)
def test_the_clock_decides_and_in_doubt_the_count(ratio, operations, passed):
    new = replace(BETTER, operations=operations)
    checks = check(new, BASELINE, BASELINE, ratio=ratio, rules=RULES)
    assert ("latency" not in failed(checks)) == passed
    numbers = {one.name: (one.candidate, one.champion) for one in checks}
    assert numbers["latency"] == (operations, 1000)  # no clock in the file


def test_a_larger_detector_fails():
    checks = check(replace(BETTER, parameters=1501), BASELINE, BASELINE, ratio=None, rules=RULES)
    assert failed(checks) == ["size"]
    assert failed(check(replace(BETTER, parameters=1500), BASELINE, BASELINE, ratio=None, rules=RULES)) == []


def test_a_slice_that_is_lost_fails_though_the_whole_and_each_class_gain():
    """Twenty images of the night, cats and dogs, of which a quarter is lost; all others are won."""
    night = [*range(20, 40)]
    old = rival("production", set(range(60)) - set(night))
    new = rival("candidate", set(night[::4]))
    rows = {"day": np.array([*range(20), *range(40, 60)]), "night": np.array(night)}
    found = slices(new, old, rows, RULES)
    assert [(one.name, one.images, one.champion, one.lost) for one in found] == [
        ("day", 40, 0, False), ("night", 20, pytest.approx(1), True),
    ]  # fmt: skip
    checks = box_checks.check(new, old, old, gain(new, old, RULES), ratio=None, rules=RULES, found=found)
    assert failed(checks) == ["AP50, worst slice night"]
    assert "points on 20 images" in next(one.reason for one in checks if not one.passed)


def test_a_slice_of_three_scenes_says_little_and_one_without_an_object_nothing():
    old, new = rival("production", set()), rival("candidate", {0, 1, 2})
    empty = [Given(one.places[:0], one.labels[:0], one.crowd[:0], one.area[:0]) for one in old.matched.given[50:]]
    given = [*old.matched.given[:50], *empty]
    both = [replace(one, matched=matched(given, one.found, CLASSES)) for one in (new, old)]
    few, nothing = slices(*both, {"few": np.arange(3), "nothing": np.arange(50, 60)}, RULES)
    assert (few.candidate, few.champion, few.lost) == (0, pytest.approx(1), False)
    assert (nothing.candidate, nothing.champion, nothing.change) == (None, None, 0)
