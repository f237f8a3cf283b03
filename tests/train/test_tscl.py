import json
from collections import Counter
from dataclasses import replace

import pytest

from tutelage.train.tscl import TSCL, Curriculum, begin, choose, learn, slope
from tutelage.types import BadInput

VARIANTS = ("online", "naive", "window", "sampling")
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def tell(method, now, task, scores):
    """Scores of one task at one time after another."""
    for score in scores:
        _, now = choose(method, now)
        now = learn(method, now, task, [score])
    return now


def study(method, steps, world, *, seed=0, now=None):
    """Chosen tasks; `world(task, n)` is the score of a task at its n-th lesson."""
    now = begin(world.tasks, seed=seed) if now is None else now
    chosen = []
    for _ in range(steps):
        task, now = choose(method, now)
        chosen.append(task)
        tries = method.window if method.variant == "naive" else 1
        now = learn(method, now, task, [world.lesson(task) for _ in range(tries)])
    return chosen, now


def test_slope_by_hand():
    assert slope(((1.0, 0.1), (2.0, 0.2), (3.0, 0.4), (4.0, 0.5))) == pytest.approx(0.14)
    assert slope(((0.0, 1.0), (10.0, 2.0))) == pytest.approx(0.1)


def test_naive_progress_is_the_slope_of_its_tries():
    method = TSCL(variant="naive", window=4, alpha=0.5)
    now = learn(method, begin(1, seed=0), 0, [0.1, 0.2, 0.4, 0.5])
    assert now.progress == pytest.approx((0.14,))
    assert learn(method, now, 0, [0.5] * 4).progress == pytest.approx((0.07,))


def test_online_progress_by_hand():
    """The first difference, 0.2, then 0.1 of 0.4 and 0.9 of 0.2."""
    method = TSCL(variant="online")
    now = tell(method, begin(1, seed=0), 0, [0.1, 0.3])
    assert now.progress == pytest.approx((0.2,))
    assert tell(method, now, 0, [0.7]).progress == pytest.approx((0.22,))


def test_window_progress_is_the_slope_of_the_last_scores():
    now = tell(TSCL(variant="window", window=4), begin(1, seed=0), 0, [9.0, 0.1, 0.2, 0.4, 0.5])
    assert now.progress == pytest.approx((0.14,))


@every_variant
def test_one_that_falls_by_more_outranks_one_that_rises_where_progress_is_absolute(variant):
    method = TSCL(variant=variant, window=2, epsilon=0.0)
    now = begin(2, seed=0)
    for task, scores in ((0, [0.5, 0.3]), (1, [0.5, 0.6])):
        now = learn(method, now, task, scores) if variant == "naive" else tell(method, now, task, scores)
    assert choose(method, now)[0] == 0
    assert choose(replace(method, absolute=False), now)[0] == 1


@every_variant
def test_what_was_never_tried_comes_before_the_fastest(variant):
    method = TSCL(variant=variant, window=2, epsilon=0.0)
    for seed in range(5):
        now = begin(2, seed=seed)
        now = learn(method, now, 0, [0.0, 7.0]) if variant == "naive" else tell(method, now, 0, [0.0, 7.0])
        assert choose(method, now)[0] == 1


@every_variant
@pytest.mark.parametrize("policy", ["greedy", "boltzmann"])
def test_all_alike_are_taken_as_often(variant, policy):
    method, now, times = TSCL(variant=variant, policy=policy), begin(4, seed=1), Counter()
    for _ in range(800):
        task, now = choose(method, now)
        times[task] += 1
    assert min(times.values()) > 150


class World:
    """Task 0 is hopeless: its score never changes. Task 1 is learned in 30 lessons. Task 2 is known, until it is
    forgotten, and comes back within 60 lessons."""

    tasks = 3

    def __init__(self):
        self.lessons, self.forgotten, self.again = Counter(), False, 0

    def lesson(self, task):
        self.lessons[task] += 1
        if task == 0:
            return 0.1
        if task == 1:
            return min(1.0, self.lessons[1] / 30)
        if self.forgotten:
            self.again += 1
            return min(1.0, 0.2 + self.again / 60)
        return 1.0


@every_variant
def test_leaves_a_hopeless_task_and_returns_to_a_forgotten_one(variant):
    window = 3 if variant == "naive" else 5
    method, world = TSCL(variant=variant, window=window, alpha=0.5, epsilon=0.1), World()
    early, now = study(method, 20, world)
    assert Counter(early)[1] > 0.6 * len(early)  # what can be learned is
    assert Counter(early)[0] <= 5
    _, now = study(method, 150, world, now=now)  # all is learned or hopeless: nothing is better than another
    world.forgotten = True
    world.lessons.clear()
    world.lessons[1] = 30
    after, now = study(method, 80, world, now=now)
    times = Counter(after)
    assert times[2] > 2 * times[0]
    assert world.again >= 48  # it was trained until it was nearly known again
    assert times[0] < 0.34 * len(after)


@every_variant
def test_a_run_that_was_cut_goes_on_with_the_same_choices(variant):
    method, world, other = TSCL(variant=variant, window=3), World(), World()
    whole, last = study(method, 40, world)
    half, now = study(method, 17, other)
    again = Curriculum.of(json.loads(json.dumps(now.state())))
    assert again == now
    rest, end = study(method, 23, other, now=again)
    assert half + rest == whole
    assert end == last


def test_what_cannot_be_is_refused():
    with pytest.raises(BadInput, match="window of TSCL is 1"):
        TSCL(window=1)
    with pytest.raises(BadInput, match="nothing to choose"):
        begin(0, seed=0)
    with pytest.raises(BadInput, match="where naive takes 10"):
        learn(TSCL(variant="naive"), begin(1, seed=0), 0, [0.5])
    with pytest.raises(BadInput, match="finite"):
        learn(TSCL(), begin(1, seed=0), 0, [float("nan")])
