import itertools
import math

import numpy as np
import pytest

from tutelage.metrics.validators import (
    VOTERS,
    Scores,
    adjusted_mutual_information,
    choose,
    class_cluster_agreement,
    class_cluster_distance,
    information_maximisation,
    rank_correlation,
    soft_neighbourhood_density,
    validate,
)
from tutelage.types import BadInput


def test_information_by_hand():
    assert information_maximisation(np.eye(3)) == pytest.approx(math.log(3))  # sure, and of all classes alike
    assert information_maximisation(np.tile([1.0, 0.0], (4, 1))) == pytest.approx(0)  # sure of one class for all
    assert information_maximisation(np.full((4, 2), 0.5)) == pytest.approx(0)  # not sure at all
    mixed = np.array([[0.75, 0.25], [0.25, 0.75]])  # ln 2 - (0.75 ln 4/3 + 0.25 ln 4)
    assert information_maximisation(mixed) == pytest.approx(0.130812, abs=1e-6)


def test_density_by_hand():
    """Two pairs of images: each sees its twin at cosine 1 and two at cosine 0."""
    pairs = np.repeat(np.eye(2), 2, axis=0)
    e = math.exp(1 / 0.5)
    p, q = e / (e + 2), 1 / (e + 2)
    expected = -p * math.log(p) - 2 * q * math.log(q)
    assert soft_neighbourhood_density(pairs, temperature=0.5) == pytest.approx(expected)
    assert soft_neighbourhood_density(np.tile([0.3, 0.7], (5, 1))) == pytest.approx(math.log(4))
    near = np.repeat([[1.0, 0.0], [0.5, 0.5]], 2, axis=0)  # at cosine sqrt(1/2), whatever their lengths
    e = math.exp((1 - math.sqrt(0.5)) / 0.5)
    p, q = e / (e + 2), 1 / (e + 2)
    assert soft_neighbourhood_density(near, temperature=0.5) == pytest.approx(-p * math.log(p) - 2 * q * math.log(q))


def test_density_sees_neither_the_order_of_images_nor_the_names_of_classes():
    rng = np.random.default_rng(0)
    said = rng.dirichlet(np.full(4, 0.3), 50)
    moved = said[rng.permutation(50)][:, rng.permutation(4)]
    assert soft_neighbourhood_density(moved) == pytest.approx(soft_neighbourhood_density(said))


def test_of_many_images_some_are_taken():
    corners = np.tile(np.eye(2), (50, 1))
    few = soft_neighbourhood_density(corners, limit=10)
    assert few == pytest.approx(math.log(4), abs=0.1)  # 5 in each corner, 4 others
    assert soft_neighbourhood_density(corners) == pytest.approx(math.log(49), abs=0.1)
    assert soft_neighbourhood_density(corners[:1]) == 0


def test_clusters_by_hand():
    points = np.array([[0.0], [2.0], [10.0], [12.0]])
    classes = np.array([0, 0, 1, 1])
    assert class_cluster_distance(points, classes) == pytest.approx(100 / 104)  # 4 * 5^2 of 36 + 16 + 16 + 36
    assert class_cluster_distance(points.repeat(2, axis=1), classes) == pytest.approx(100 / 104)
    assert class_cluster_distance(points, np.zeros(4, int)) == 0
    assert class_cluster_distance(np.ones((4, 2)), classes) == 0


def test_clusters_do_not_see_place_size_or_direction():
    rng = np.random.default_rng(0)
    points, classes = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert class_cluster_distance(3 * points @ turn + 7, classes) == pytest.approx(
        class_cluster_distance(points, classes)
    )


def information(first, second):
    """Nats, and the mean of both entropies."""
    pairs = [*zip(first, second, strict=True)]
    shares = [[part.count(each) / len(pairs) for each in set(part)] for part in (pairs, list(first), list(second))]
    joint, one, two = (-sum(p * math.log(p) for p in part) for part in shares)
    return one + two - joint, (one + two) / 2


def test_mutual_information_is_adjusted_by_its_mean_over_all_orders():
    first, second = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    orders = [information(first, order)[0] for order in itertools.permutations(second)]
    by_chance = sum(orders) / len(orders)
    said, most = information(first, second)
    expected = (said - by_chance) / (most - by_chance)
    assert adjusted_mutual_information(np.array(first), np.array(second)) == pytest.approx(expected)
    assert adjusted_mutual_information(np.array(second), np.array(first)) == pytest.approx(expected)
    assert adjusted_mutual_information(np.array([3, 3, 5, 7]), np.array([1, 1, 0, 2])) == pytest.approx(1)
    assert adjusted_mutual_information(np.zeros(4, int), np.arange(4)) == 0
    assert adjusted_mutual_information(np.zeros(4, int), np.zeros(4, int)) == 0


def test_agreement_of_classes_with_clusters():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 100)
    points = 5 * np.eye(3)[truth] + rng.normal(size=(300, 3))
    assert class_cluster_agreement(points, truth, classes=3) > 0.95
    longer = points * rng.choice([1, 50], (300, 1))
    assert class_cluster_agreement(longer, (truth + 1) % 3, classes=3) > 0.95  # neither lengths nor names count
    assert class_cluster_agreement(points, rng.permutation(truth), classes=3) == pytest.approx(0, abs=0.02)
    assert class_cluster_agreement(points, np.zeros(300, int), classes=3) == 0
    assert class_cluster_agreement(np.ones((5, 2)), np.array([0, 1, 0, 1, 0]), classes=2) == 0  # one point
    assert class_cluster_agreement(np.zeros((5, 2)), np.array([0, 1, 0, 1, 0]), classes=2) == 0
    assert class_cluster_agreement(points[[0, 150]], np.array([0, 1]), classes=3) == 0  # two images agree by chance


def test_of_several_starts_the_tightest_clusters_count():
    """Twelve classes around a circle; the first start takes two of them for one."""
    truth = np.repeat(np.arange(12), 3)
    angles = 2 * math.pi * truth / 12 + np.tile([-0.05, 0.0, 0.05], 12)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert class_cluster_agreement(points, truth, classes=12) == pytest.approx(1)


def ranked(voters, density=0.0):
    return Scores(information=voters[0], neighbourhood=density, clusters=voters[1], agreement=voters[2])


SCORES = {
    "source": ranked((1.0, 1.0, 1.0), density=9.0),
    "good": ranked((3.0, 2.0, 3.0)),
    "odd": ranked((2.0, 3.0, 2.0)),
    "forgot": ranked((4.0, 4.0, 4.0)),
}
SOURCE = {"source": 0.98, "good": 0.97, "odd": 0.96, "forgot": 0.5}


def test_the_vote_and_the_guard():
    choice = choose(SCORES, SOURCE, reference="source", margin=0.05)
    assert choice.ranking == ["good", "odd", "source"]
    assert choice.refused == ["forgot"]
    assert choice.mean_rank == pytest.approx({"good": 4 / 3, "odd": 5 / 3, "source": 3})
    assert choose(SCORES, SOURCE, reference="source", margin=1.0).ranking[0] == "forgot"
    assert choose(SCORES, SOURCE, reference="source", margin=0.0).ranking == ["source"]


def test_only_order_counts():
    assert VOTERS == ("information", "clusters", "agreement")
    stretched = {name: ranked((s.information**3, s.clusters - 9, math.exp(s.agreement))) for name, s in SCORES.items()}
    assert choose(stretched, SOURCE, reference="source", margin=0.05) == choose(
        SCORES, SOURCE, reference="source", margin=0.05
    )


def test_equal_candidates_keep_their_order():
    same = dict.fromkeys(("b", "a", "c"), ranked((1.0, 1.0, 1.0)))
    assert choose(same, dict.fromkeys(same, 1.0), reference="a", margin=0.0).ranking == ["b", "a", "c"]


def test_correlation_with_the_truth():
    truth = {"source": 0.7, "good": 0.9, "odd": 0.8, "forgot": 0.3}
    said = {"source": 1.0, "good": 3.0, "odd": 2.0, "forgot": 0.0}
    assert rank_correlation(said, truth) == pytest.approx(1)
    assert rank_correlation({name: -x for name, x in said.items()}, truth) == pytest.approx(-1)
    swapped = said | {"source": 2.0, "odd": 1.0}
    assert rank_correlation(swapped, truth) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert rank_correlation({"source": 1.0, "good": 2.0}, truth) is None
    assert rank_correlation(dict.fromkeys(said, 1.0), truth) is None


def test_a_model_in_need_of_nothing_but_answers():
    logits = np.log(np.array([[0.75, 0.25], [0.25, 0.75]]))
    scores = validate(logits, np.array([[1.0], [-1.0]]))
    assert scores.information == pytest.approx(0.130812, abs=1e-6)
    assert scores.clusters == pytest.approx(1)
    third = np.log(np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]]))  # that both are least likely of
    assert validate(third, np.array([[1.0], [-1.0]])).clusters == pytest.approx(1)
    with pytest.raises(BadInput, match="not all finite"):
        validate(np.array([[np.nan, 0.0]]), np.zeros((1, 1)))


def test_candidates_without_a_reference_are_refused():
    with pytest.raises(BadInput, match="have 'baseline'"):
        choose(SCORES, SOURCE, reference="baseline", margin=0.0)
