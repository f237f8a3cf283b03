import pytest
from scenes_found import CLASSES, found, given, guesses, nothing_found, nothing_given, random_scenes

from tutelage.data.boxes import Found
from tutelage.metrics.coco import score
from tutelage.metrics.detection_errors import ERRORS, KINDS, ap50, costs, errors, wrong

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
SHIFTED = [0, 0, 10, 4]  # overlaps A by 0.4
FAR = [80, 80, 90, 90]


def kinds(scene, said):
    return [(*KINDS, "")[kind] for kind in wrong(scene, said).kind]


@pytest.mark.parametrize(
    ("place", "label", "kind"),
    [
        (A, 0, ""),
        (A, 1, "classification"),
        (SHIFTED, 0, "localisation"),
        (SHIFTED, 1, "both"),
        (FAR, 0, "background"),
        ([0, 9, 10, 19], 0, "background"),  # overlap 10 / 190
        ([0, 8, 10, 18], 0, "localisation"),  # overlap 20 / 180
        ([0, 8, 10, 18], 1, "both"),
        ([0, 0, 10, 5], 0, ""),  # exactly half
        ([0, 0, 10, 5], 1, "classification"),
        ([0, 0, 10, 1], 0, "localisation"),  # exactly a tenth
        ([0, 0, 10, 1], 1, "background"),
    ],
)
def test_kinds_by_hand(place, label, kind):
    assert kinds(given([A], [0]), found([place], [label], [0.9])) == [kind]


def test_the_surer_of_two_is_right_and_the_other_a_duplicate():
    assert kinds(given([A], [0]), found([A, A], [0, 0], [0.8, 0.9])) == ["duplicate", ""]


def test_a_box_near_its_own_class_is_badly_placed_even_on_another_object():
    scene = given([A, [0, 0, 10, 4]], [0, 1])
    assert kinds(scene, found([SHIFTED], [0], [0.9])) == ["localisation"]


def test_what_lies_on_a_crowd_is_no_error_and_a_crowd_is_not_missed():
    scene = given([[0, 0, 50, 50]], [0], [True])
    assert kinds(scene, found([A, A], [0, 1], [0.9, 0.8])) == ["", "background"]
    assert errors([scene], [nothing_found()]) == dict.fromkeys(ERRORS, 0)


def test_counts_at_a_score():
    scenes = [given([B, A, C], [1, 0, 2]), nothing_given()]
    said = [found([A, A, B, FAR], [0, 0, 0, 0], [0.9, 0.6, 0.5, 0.4]), found([A], [0], [0.8])]
    wanted = {"classification": 1, "localisation": 0, "both": 0, "duplicate": 1, "background": 1, "missed": 1}
    assert errors(scenes, said) == wanted  # B is meant by a wrong class: only C is missed
    assert errors(scenes, said, floor=0.3)["background"] == 2
    assert errors(scenes, said, floor=0.7) == dict.fromkeys(ERRORS, 0) | {"background": 1, "missed": 2}


def test_costs_by_hand():
    """One class, two objects. A is found; a surer box is the error: precision 1/2 until it is mended."""
    scene = given([A, B], [0, 0])
    recalled = 51 / 101  # of COCO's 101 recalls, 0 .. 0.5 are reached by one object of two
    before = 0.5 * recalled
    spurious = costs([scene], [found([FAR, A], [0, 0], [0.9, 0.8])], CLASSES)
    assert spurious["background"] == pytest.approx(recalled - before)
    assert spurious["missed"] == pytest.approx(0.5 - before)  # A alone: recall 1 at precision 1/2
    assert [spurious[kind] for kind in ("classification", "localisation", "both", "duplicate")] == [0, 0, 0, 0]
    placed = costs([scene], [found([[20, 0, 30, 4], A], [0, 0], [0.9, 0.8])], CLASSES)
    assert placed["localisation"] == pytest.approx(1 - before)
    assert placed["missed"] == pytest.approx(0)
    twice = costs([scene], [found([A, A, B], [0, 0, 0], [0.9, 0.8, 0.7])], CLASSES)
    assert twice["duplicate"] == pytest.approx(1 - (51 + 50 * 2 / 3) / 101)


def test_where_all_is_missed_all_is_gained():
    assert costs([given([A], [0])], [found([FAR], [0], [0.9])], CLASSES)["missed"] == 1.0


def test_no_images_cost_nothing():
    assert costs([], [], CLASSES) == dict.fromkeys(ERRORS)


def test_a_mended_class():
    scene = given([A, B], [0, 1])
    found_of = costs([scene], [found([A, B], [0, 0], [0.8, 0.9])], CLASSES)
    assert found_of["classification"] == pytest.approx(1 - (0.5 + 0) / 2)


def test_of_boxes_that_mean_one_object_the_surest_is_mended_and_the_rest_go():
    scene = given([A, B], [0, 0])
    places, scores = [SHIFTED, FAR, SHIFTED, SHIFTED, B], [0.9, 0.85, 0.8, 0.7, 0.5]
    all_bad = costs([scene], [found(places, [0] * 5, scores)], CLASSES)
    mended = (51 + 50 * 2 / 3) / 101  # then only what is far stands before B, and nothing before A
    assert all_bad["localisation"] == pytest.approx(mended - 51 / 101 / 5)
    beside = costs([scene], [found([SHIFTED, A, B], [0, 0, 0], [0.9, 0.8, 0.7])], CLASSES)
    assert beside["localisation"] == pytest.approx(1 - 2 / 3)  # A is taken: the bad box is removed


def test_mending_never_harms_and_nothing_to_find_has_no_costs():
    scenes = random_scenes(5, crowds=False)
    said = guesses(scenes, 6, noise=0.2)
    found_of = costs(scenes, said, CLASSES)
    assert min(found_of.values()) >= 0
    assert max(found_of.values()) > 0.05
    assert costs([nothing_given()], [found([A], [0], [0.9])], CLASSES) == dict.fromkeys(ERRORS)


@pytest.mark.parametrize("seed", range(6))
def test_the_ap50_is_that_of_pycocotools(seed):
    scenes = random_scenes(seed, crowds=bool(seed % 2))
    said = guesses(scenes, seed + 20)
    assert ap50(scenes, said, CLASSES) == pytest.approx(score(scenes, said, CLASSES).ap50, abs=1e-12)
    assert ap50(scenes, [nothing_found()] * len(scenes), CLASSES) == 0


def test_without_every_error_the_score_is_one():
    scenes = random_scenes(7)
    said = [
        Found(*(column[wrong(s, f).kind == len(KINDS)] for column in f))
        for s, f in zip(scenes, guesses(scenes, 8), strict=True)
    ]
    rest = [type(s)(*(column[~wrong(s, f).missed] for column in s)) for s, f in zip(scenes, said, strict=True)]
    assert score(rest, said, CLASSES).ap50 == pytest.approx(1)
    assert errors(rest, said, floor=0.0) == dict.fromkeys(ERRORS, 0)
