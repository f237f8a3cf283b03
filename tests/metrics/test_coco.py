import json
from dataclasses import asdict

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes_found import CLASSES, found, given, guesses, nothing_found, nothing_given, random_scenes

from tutelage.data.boxes import Found
from tutelage.metrics.coco import averages, bootstrap_ap, bootstrap_class_ap, matched, score, widest
from tutelage.types import BadInput

ONE = pytest.approx(1, abs=1e-12)  # COCO's precision of one box is 1 / (1 + epsilon)


def by_pycocotools(tmp_path, scenes, answers, limits=(1, 10, 100)):
    """COCOeval as its own demo runs it, from two files."""
    images = [{"id": i + 7, "file_name": f"{i}.jpg", "width": 500, "height": 500} for i in range(len(scenes))]

    def entry(image, place, label):
        x1, y1, x2, y2 = map(float, place)
        return {"image_id": image + 7, "category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}

    truth = [
        entry(i, p, c) | {"area": float(a), "iscrowd": int(w)}
        for i, s in enumerate(scenes)
        for p, c, w, a in zip(*s, strict=True)
    ]
    truth = [one | {"id": 50 + number} for number, one in enumerate(truth)]
    categories = [{"id": 1 + i, "name": name} for i, name in enumerate(CLASSES)]
    (tmp_path / "truth.json").write_text(
        json.dumps({"info": {}, "images": images, "annotations": truth, "categories": categories})
    )
    said = [entry(i, p, c) | {"score": float(v)} for i, s in enumerate(answers) for p, c, v in zip(*s, strict=True)]
    (tmp_path / "found.json").write_text(json.dumps(said))
    coco = COCO(tmp_path / "truth.json")
    run = COCOeval(coco, coco.loadRes(str(tmp_path / "found.json")), "bbox")
    run.params.maxDets = list(limits)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run


def none_for_minus_one(values):
    return [None if value == -1 else pytest.approx(value, abs=1e-12) for value in values]


@pytest.mark.parametrize("seed", range(4))
def test_random_boxes_get_pycocotools_numbers_from_files(tmp_path, seed):
    scenes = random_scenes(seed)
    answers = guesses(scenes, seed + 100)
    run = by_pycocotools(tmp_path, scenes, answers)
    ours = score(scenes, answers, CLASSES)
    mine = [
        ours.ap, ours.ap50, ours.ap75, *ours.by_size.values(), *(ours.ar[n] for n in (1, 10, 100)),
        *ours.ar_by_size.values(),
    ]  # fmt: skip
    assert 0.1 < ours.ap < 0.9
    assert mine == none_for_minus_one(run.stats)
    precision = run.eval["precision"]
    for k, name in enumerate(CLASSES):
        assert ours.per_class[name].ap == pytest.approx(precision[:, :, k, 0, -1].mean())
        assert ours.per_class[name].ap50 == pytest.approx(precision[0, :, k, 0, -1].mean())
        np.testing.assert_array_equal(ours.curves[name], precision[0, :, k, 0, -1])
        assert ours.per_class[name].objects == sum(((s.labels == k) & ~s.crowd).sum() for s in scenes)


@pytest.mark.parametrize("limit", [1, 2, 10, 30])
def test_fewer_boxes_an_image_count_as_pycocotools_counts_them(tmp_path, limit):
    scenes = random_scenes(9)
    answers = guesses(scenes, 10)
    run = by_pycocotools(tmp_path, scenes, answers, limits=(1, min(2, limit), limit))
    ours = score(scenes, answers, CLASSES, max_detections=limit)
    known = run.eval["precision"][:, :, :, 0, -1]
    assert ours.ap == pytest.approx(known[known > -1].mean(), abs=1e-12)
    assert ours.ar[limit] == pytest.approx(run.eval["recall"][:, :, 0, -1].mean(), abs=1e-12)
    assert list(ours.ar) == sorted({1, limit} | ({10} if limit > 10 else set()))


def test_a_hundred_boxes_of_an_image_are_matched_unless_told():
    said = found([[20, 20, 30, 30]] * 100 + [[0, 0, 10, 10]], [0] * 101, np.linspace(0.9, 0.1, 101))
    few, all_of_them = (
        matched([given([[0, 0, 10, 10]], [0])], [said], CLASSES, **more) for more in ({}, {"max_detections": 101})
    )
    assert (averages(few).ap, averages(all_of_them).ap) == (0, pytest.approx(1 / 101))


@pytest.mark.parametrize("limit", [2, 100])
def test_averages_are_those_of_the_score(limit):
    scenes = random_scenes(3)
    answers = guesses(scenes, 10)
    whole = score(scenes, answers, CLASSES, max_detections=limit)
    assert averages(matched(scenes, answers, CLASSES, max_detections=limit)) == (whole.ap, whole.per_class)
    assert np.mean([curve.mean() for curve in whole.curves.values()]) == pytest.approx(whole.ap50)


def test_the_truth_itself_scores_one():
    scenes = random_scenes(1, crowds=False)
    said = [Found(s.places, s.labels, np.linspace(1, 0.5, len(s.labels), dtype=np.float32)) for s in scenes]
    ours = score(scenes, said, CLASSES)
    assert (ours.ap, ours.ap50, ours.ap75, ours.ar[100]) == (1, 1, 1, 1)
    assert set(ours.by_size.values()) == {1.0}
    for curve in ours.curves.values():
        np.testing.assert_array_equal(curve, 1)


def test_nothing_found_scores_zero_and_nothing_to_find_is_no_number():
    scenes = random_scenes(1)
    silent = [nothing_found() for _ in scenes]
    ours = score(scenes, silent, CLASSES)
    assert (ours.ap, ours.ap50, ours.ar[100]) == (0, 0, 0)
    empty = score([nothing_given()] * 2, silent[:2], CLASSES)
    assert (empty.ap, empty.by_size["small"], empty.per_class["cat"].ap, empty.ar[1]) == (None, None, None, None)
    assert empty.curves == {}
    none = score([], [], CLASSES)
    assert (none.ap, none.per_class["cat"].objects) == (None, 0)


def test_a_class_without_objects_is_left_out_of_the_mean():
    scene, said = given([[0, 0, 10, 10]], [0]), found([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 1], [0.9, 0.8])
    ours = score([scene], [said], CLASSES)
    assert (ours.ap, ours.per_class["cat"].ap, ours.per_class["dog"].ap) == (ONE, ONE, None)
    assert json.loads(json.dumps(asdict(ours) | {"curves": 0}))["ap"] == ONE  # plain numbers, for a file


def test_an_image_without_objects_counts_against_what_is_found_there():
    scene, said = given([[0, 0, 10, 10]], [0]), found([[0, 0, 10, 10]], [0], [0.9])
    sure = found([[0, 0, 10, 10]], [0], [0.95])
    assert score([scene, nothing_given()], [said, sure], CLASSES).ap == pytest.approx(0.5)


def test_what_is_found_of_a_class_that_nobody_looked_for_is_no_error():
    """A crowd of hens over the whole of the second image, in which cats were looked for."""
    objects = given([[10, 10, 60, 60], [10, 10, 60, 60]], [0, 2])
    partly = given([[20, 20, 90, 90], [0, 0, 300, 300]], [0, 2], [False, True])
    first, cat = found(objects.places, [0, 2], [0.5, 0.5]), found([[20, 20, 90, 90]], [0], [0.5])
    hens = found([[20, 20, 90, 90], [0, 0, 40, 40], [200, 200, 300, 300]], [0, 2, 2], [0.5, 0.9, 0.8])
    quiet, loud = (score([objects, partly], [first, second], CLASSES) for second in (cat, hens))
    assert (quiet.ap, quiet.ap50, quiet.ap75) == (loud.ap, loud.ap50, loud.ap75) == (1, 1, 1)
    searched = given(partly.places[:1], [0])
    assert score([objects, searched], [first, hens], CLASSES).ap < 1


def test_sizes_are_as_asked():
    scene, said = given([[0, 0, 20, 20]], [0]), found([[0, 0, 20, 20]], [0], [0.9])
    assert score([scene], [said], CLASSES).by_size == {"small": ONE, "medium": None, "large": None}
    ours = score([scene], [said], CLASSES, sizes=(8.0, 16.0))
    assert ours.by_size == {"small": None, "medium": None, "large": ONE}
    speck, seen = given([[0, 0, 0.5, 0.5]], [0]), found([[0, 0, 0.5, 0.5]], [0], [0.9])  # less than a square pixel
    ours = score([speck], [seen], CLASSES)
    assert (ours.ap, ours.by_size["small"], averages(matched([speck], [seen], CLASSES)).ap) == (ONE, ONE, ONE)


def test_the_widest_recall_is_at_the_largest_number_and_not_at_the_last_text():
    assert widest({"10": 0.2, "9": 0.1, "1": 0.3}) == widest({1: 0.3, 10: 0.2, 9: 0.1}) == 0.2


def test_columns_of_one_image_are_of_one_length():
    scene, said = given([[0, 0, 9, 9]] * 2, [0, 0]), found([[0, 0, 9, 9]] * 2, [0, 0], [0.9, 0.8])
    for pair in ((scene._replace(area=scene.area[:1]), said), (scene, said._replace(scores=said.scores[:1]))):
        with pytest.raises(ValueError, match="zip"):
            score([pair[0]], [pair[1]], CLASSES)


def test_pycocotools_prints_nothing(capsys):
    score(random_scenes(1), guesses(random_scenes(1), 2), CLASSES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("scenes", "said", "match"),
    [
        ([nothing_given()], [], "0 images, and 1"),
        ([given([[0, 0, 1, 1]], [3])], [nothing_found()], "given box has label 3.*3 classes.*cat, dog, hen"),
        ([nothing_given()], [found([[0, 0, 1, 1]], [-1], [0.5])], "found box has label -1"),
        ([nothing_given()], [found([[0, 0, 1, np.nan]], [0], [0.5])], "not finite"),
        ([nothing_given()], [found([[0, 0, 1, 1]], [0], [np.inf])], "not finite"),
    ],
)
def test_bad_input(scenes, said, match):
    with pytest.raises(BadInput, match=match):
        score(scenes, said, CLASSES)


SETTINGS = {"resamples": 200, "seed": 0}


@pytest.mark.parametrize("seed", range(4))
def test_the_estimate_is_cocoevals_difference(seed):
    scenes = random_scenes(seed)
    one, two = guesses(scenes, 1, noise=0.05), guesses(scenes, 2, missed=0.5)
    better, worse = (matched(scenes, said, CLASSES) for said in (one, two))
    gain = bootstrap_ap(better, worse, **SETTINGS)
    first, second = (score(scenes, said, CLASSES) for said in (one, two))
    assert gain.estimate == pytest.approx(first.ap - second.ap, abs=1e-12)
    assert bootstrap_ap(better, None, **SETTINGS).estimate == pytest.approx(first.ap, abs=1e-12)
    classes = bootstrap_class_ap(better, worse, **SETTINGS)
    for name, found_gain in zip(CLASSES, classes, strict=True):
        assert found_gain.estimate == pytest.approx(first.per_class[name].ap50 - second.per_class[name].ap50, abs=1e-12)
    few = (matched(scenes, said, CLASSES, max_detections=1) for said in (one, two))
    limited = bootstrap_ap(*few, **SETTINGS)
    first, second = (score(scenes, said, CLASSES, max_detections=1) for said in (one, two))
    assert limited.estimate == pytest.approx(first.ap - second.ap, abs=1e-12)


def test_the_interval_is_that_of_copying_images(monkeypatch):
    """Against the textbook: each draw is a data set of its own, whose images come several times or not at all."""
    scenes = random_scenes(3, images=12)
    one, two = guesses(scenes, 1), guesses(scenes, 2)
    # A score of its own for every box: COCO's order of equal ones depends on which copies stand beside each other.
    rng = np.random.default_rng(0)
    one, two = ([s._replace(scores=np.sort(rng.random(len(s.scores)))[::-1]) for s in said] for said in (one, two))
    better, worse = (matched(scenes, said, CLASSES) for said in (one, two))
    gain = bootstrap_ap(better, worse, resamples=40, seed=5)
    counts = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=40)
    by_hand = []
    for row in counts:
        chosen = np.repeat(np.arange(12), row)
        copy = [[said[i] for i in chosen] for said in (scenes, one, two)]
        by_hand.append(score(copy[0], copy[1], CLASSES).ap - score(copy[0], copy[2], CLASSES).ap)
    np.testing.assert_allclose(gain[1:], np.quantile(by_hand, [0.025, 0.975]), atol=1e-12)
    monkeypatch.setattr("tutelage.metrics.coco.CELLS", 50)  # in blocks: the same
    assert bootstrap_ap(better, worse, resamples=40, seed=5) == gain


def test_images_of_a_unit_are_drawn_together_and_less_confidence_is_a_narrower_interval():
    scenes, settings = random_scenes(3, images=12), {"resamples": 40, "seed": 5}
    one, two = (matched(scenes, guesses(scenes, seed), CLASSES) for seed in (1, 2))
    for interval in (bootstrap_ap, lambda *pair, **more: bootstrap_class_ap(*pair, **more)[0]):
        alone, half = interval(one, two, **settings), interval(one, two, **settings, confidence=0.5)
        assert alone.low < half.low < half.high < alone.high
        assert interval(one, two, **settings, units=np.arange(12)) == alone
        pairs = interval(one, two, **settings, units=np.arange(12) // 2)
        assert interval(one, two, **settings, units=1000 * (1 + np.arange(12) // 2)) == pairs
        assert pairs.estimate == alone.estimate
        assert pairs[1:] != alone[1:]
        assert len(set(interval(one, two, **settings, units=np.zeros(12, int)))) == 1  # one unit: each draw is the set


def test_equal_detectors_differ_by_nothing_and_half_of_the_boxes_are_worse():
    scenes = random_scenes(2)
    found_boxes = guesses(scenes, 1, noise=0.03, missed=0.0)
    good = matched(scenes, found_boxes, CLASSES)
    assert bootstrap_ap(good, good, **SETTINGS) == (0, 0, 0)
    half = matched(scenes, [Found(*(column[::2] for column in said)) for said in found_boxes], CLASSES)
    worse = bootstrap_ap(half, good, **SETTINGS)
    assert worse.low < worse.estimate < worse.high < 0


def test_detectors_are_compared_in_the_same_images():
    here, there = ([given([[0, 0, 20, 20]] * k, [0] * k)] for k in (1, 2))
    one, two = (matched(scenes, [nothing_found()], CLASSES) for scenes in (here, there))
    for compare in (bootstrap_ap, bootstrap_class_ap):
        with pytest.raises(BadInput, match="different images"):
            compare(one, two, **SETTINGS)


def test_seeds_are_averaged_and_may_differ_in_number():
    scenes = random_scenes(4)
    runs = [matched(scenes, guesses(scenes, seed), CLASSES) for seed in range(3)]
    aps = [averages(run).ap for run in runs]
    gain = bootstrap_ap(runs[:2], [runs[2]], **SETTINGS)
    assert gain.estimate == pytest.approx(np.mean(aps[:2]) - aps[2], abs=1e-12)
    assert bootstrap_ap(runs, [runs[2], runs[0], runs[1]], **SETTINGS).high == pytest.approx(0)


ONE_SHOWS_A_CAT = [given([[0, 0, 20, 20]], [0]), nothing_given()]
RIGHT_AND_WRONG = [found([[0, 0, 20, 20]], [0], [0.9]), found([[5, 5, 9, 9]], [0], [0.95])]


def test_a_draw_without_objects_has_no_ap():
    one = matched(ONE_SHOWS_A_CAT, RIGHT_AND_WRONG, CLASSES)
    alone = bootstrap_ap(one, None, resamples=100, seed=0)
    assert alone.estimate == pytest.approx(0.5)
    assert (alone.low, alone.high) == (pytest.approx(0.5), ONE)  # the cat's image twice, or with the mistake
    with pytest.raises(BadInput, match="no object"):
        bootstrap_ap(matched([nothing_given()], RIGHT_AND_WRONG[:1], CLASSES), None, **SETTINGS)


def test_of_two_detectors_a_draw_without_objects_shows_no_difference():
    one, silent = (matched(ONE_SHOWS_A_CAT, said, CLASSES) for said in (RIGHT_AND_WRONG, [nothing_found()] * 2))
    gain = bootstrap_ap(one, silent, resamples=100, seed=0)
    assert gain == (pytest.approx(0.5), 0, ONE)
    assert bootstrap_class_ap(one, silent, resamples=100, seed=0) == [gain, None, None]  # of others there is no object
    assert all(bootstrap_class_ap(one, silent, resamples=2, seed=seed)[0] for seed in range(8))  # not by the first draw


def test_one_image_that_shows_an_object_proves_no_gain():
    scenes = [given([[0, 0, 50, 50]], [0]), *[nothing_given()] * 49]
    near, far = ([found([[0, 0, 50, low]], [0], [0.9]), *[nothing_found()] * 49] for low in (50, 60))
    gain = bootstrap_ap(*(matched(scenes, said, CLASSES) for said in (near, far)), **SETTINGS)
    assert gain.low <= 0 < gain.estimate
