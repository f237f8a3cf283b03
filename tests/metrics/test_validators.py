import math

import numpy as np
import pytest

from tutelage.metrics.validators import (
    Scores,
    choose,
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
    assert class_cluster_distance(points, np.zeros(4, int)) == 0
    assert class_cluster_distance(np.ones((4, 2)), classes) == 0


def test_clusters_do_not_see_place_size_or_direction():
    rng = np.random.default_rng(0)
    points, classes = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert class_cluster_distance(3 * points @ turn + 7, classes) == pytest.approx(
        class_cluster_distance(points, classes)
    )


SCORES = {
    "source": Scores(1.0, 1.0, 1.0),
    "good": Scores(3.0, 3.0, 2.0),
    "odd": Scores(2.0, 2.0, 3.0),
    "forgot": Scores(4.0, 4.0, 4.0),
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
    stretched = {
        name: Scores(s.information**3, math.exp(s.neighbourhood), s.clusters - 9) for name, s in SCORES.items()
    }
    assert choose(stretched, SOURCE, reference="source", margin=0.05) == choose(
        SCORES, SOURCE, reference="source", margin=0.05
    )


def test_equal_candidates_keep_their_order():
    same = dict.fromkeys(("b", "a", "c"), Scores(1.0, 1.0, 1.0))
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
    with pytest.raises(BadInput, match="not all finite"):
        validate(np.array([[np.nan, 0.0]]), np.zeros((1, 1)))


def test_candidates_without_a_reference_are_refused():
    with pytest.raises(BadInput, match="have 'baseline'"):
        choose(SCORES, SOURCE, reference="baseline", margin=0.0)
