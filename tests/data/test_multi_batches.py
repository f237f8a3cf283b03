import numpy as np
import pytest
import torch

from tutelage.data.box_moves import no_boxes
from tutelage.data.decoding import GREY
from tutelage.data.dense_moves import move_classes, move_depth, move_trust
from tutelage.data.images import Images
from tutelage.data.multi_batches import (
    Known,
    KnownDepth,
    KnownObjects,
    KnownPresent,
    KnownSegments,
    MultiSource,
    multi_batches,
)
from tutelage.data.scene_views import SceneViews, strong_scene, weak_scene
from tutelage.types import IGNORE, TASKS, Boxes

SIZE, CLASSES = 32, 3
CLEAR = torch.ones(SIZE, SIZE, dtype=torch.bool)
SAME = torch.eye(3, dtype=torch.float64)[:2]
QUIET = {"colour": 0.0, "grey": 0.0, "blur": 0.0}


def squares():
    """Classes of a picture with a square of class 1 (2 in a map of classes)."""
    target = np.zeros((SIZE, SIZE), np.int64)
    target[8:20, 6:18] = 2
    return target


def picture():
    """White where the square is: a view of it shows where every pixel of the square went."""
    return np.repeat((squares() > 0).astype(np.uint8)[..., None] * 255, 3, axis=2)


@pytest.mark.parametrize("make", [weak_scene, strong_scene])
def test_classes_go_where_the_pixels_go(make):
    view, moved = make(SceneViews(**QUIET, erasing=0.0, geometry=True), SIZE), 0
    for key in range(40):
        seen = view(picture(), torch.zeros(0, 4), (key,))
        there = move_classes(squares(), seen.matrix, seen.clear).numpy()
        white, beyond = seen.image[..., 0] > 200, seen.image[..., 0] == GREY
        wrong = (white & (there != 2)) | ((seen.image[..., 0] < 30) & (there == 2))
        assert wrong.mean() < 0.02
        assert (beyond & (there != IGNORE)).mean() < 0.02
        moved += not (there == squares()).all()
    assert moved > 20


def test_a_flip_and_a_shift_by_hand():
    flip = torch.tensor([[-1.0, 0, SIZE], [0, 1, 0]], dtype=torch.float64)
    assert (move_classes(squares(), flip, CLEAR).numpy() == squares()[:, ::-1]).all()
    right = torch.tensor([[1.0, 0, 5], [0, 1, 0]], dtype=torch.float64)
    there = move_classes(squares(), right, CLEAR)
    assert (there[:, :5] == IGNORE).all()
    assert (there[:, 5:].numpy() == squares()[:, :-5]).all()
    trust = move_trust(np.full((SIZE, SIZE), 0.5, np.float32), right, CLEAR)
    assert trust[:, :5].sum() == 0
    assert (trust[:, 5:] == 0.5).all()


def test_what_noise_covers_is_not_asked():
    covered = CLEAR.clone()
    covered[0] = False
    assert (move_classes(squares(), SAME, covered)[0] == IGNORE).all()
    assert move_trust(np.ones((SIZE, SIZE), np.float32), SAME, covered).sum() == SIZE * (SIZE - 1)
    seen = strong_scene(SceneViews(**QUIET, flip=False, scale=0.0, translate=0.0), SIZE)
    views = [seen(picture(), torch.zeros(0, 4), (key,)) for key in range(20)]
    assert any(not each.clear.all() for each in views)
    assert all((each.image == picture())[each.clear.numpy()].all() for each in views)


def test_what_looks_twice_as_large_is_half_as_far_away():
    twice = torch.tensor([[2.0, 0, -8], [0, 2, -8]], dtype=torch.float64)
    depth = move_depth(np.full((SIZE, SIZE), 3.0, np.float32), twice)
    torch.testing.assert_close(depth, torch.full((SIZE, SIZE), 1.5))
    flip = torch.tensor([[-1.0, 0, SIZE], [0, 1, 0]], dtype=torch.float64)
    slope = np.tile(np.arange(SIZE, dtype=np.float32), (SIZE, 1))
    assert (move_depth(slope, flip).numpy() == slope[:, ::-1]).all()


class Pictures(Images):
    """Drawn, not read."""

    def __init__(self):
        self.size = SIZE

    def __getitem__(self, row):
        return picture()


def known(*tasks):
    box = Boxes(torch.tensor([[6.0, 8, 18, 20]]), torch.tensor([1]), torch.ones(1), torch.ones(1))
    ones = np.ones((SIZE, SIZE), np.float32)
    every = {
        "classification": KnownPresent(np.array([0, 1, 0], np.float32), np.array([1, 1, 0], np.float32)),
        "detection": KnownObjects(box, np.array([True, True, False]), 0.5),
        "segmentation": KnownSegments(squares(), ones, np.array([True, True, True, False])),
        "depth": KnownDepth(2 * ones, ones),
    }
    return Known(**{task: every[task] for task in tasks})


OWN = (("classification",), ("detection", "depth"), TASKS, ())  # what is known of each labelled image


def source(**fields):
    given = {
        "images": Pictures(), "classes": CLASSES, "labeled": np.arange(4), "pool": np.arange(4, 9),
        "given": lambda place: known(*OWN[place]), "said": lambda place: known("segmentation"),
        "view": weak_scene(SceneViews(**QUIET, erasing=0.0, scale=0.0, translate=0.0), SIZE),
        "labeled_batch": 4, "pool_batch": 3, "seed": 0,
    }  # fmt: skip
    return MultiSource(**(given | fields))


def test_only_images_where_somebody_looked_have_a_row():
    batch = source()[0]
    truth = batch.labeled.truth
    counts = {task: len(getattr(truth, task).rows) for task in TASKS}
    assert counts == {"classification": 2, "detection": 2, "segmentation": 1, "depth": 2}
    assert batch.labeled.images.shape == (4, 3, SIZE, SIZE)
    assert {task: len(getattr(batch.pool.truth, task).rows) for task in TASKS} == dict.fromkeys(TASKS, 0) | {
        "segmentation": 3
    }
    assert truth.classification.weight.tolist() == [[1, 1, 0]] * 2
    assert truth.detection.known.tolist() == [[True, True, False]] * 2
    assert truth.detection.weight.tolist() == [0.5] * 2
    row = int(truth.segmentation.rows[0])
    assert row in truth.depth.rows
    white = batch.labeled.images[row, 0] > 127
    assert torch.equal(truth.segmentation.target[0] == 2, white)
    place = truth.detection.boxes[truth.detection.rows.tolist().index(row)].places[0]
    assert place.tolist() in ([6, 8, 18, 20], [SIZE - 18, 8, SIZE - 6, 20])


def test_a_batch_depends_on_seed_and_step_alone_and_not_on_processes():
    plain = [source()[step] for step in (3, 4)]
    loaded = list(multi_batches(source(), start=3, stop=5, workers=0))
    for one, other in zip(plain, loaded, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert torch.equal(mine.images, theirs.images)
            for task in ("classification", "segmentation", "depth"):
                pairs = zip(getattr(mine.truth, task), getattr(theirs.truth, task), strict=True)
                assert all(torch.equal(a, b) for a, b in pairs)
            boxes = zip(mine.truth.detection.boxes, theirs.truth.detection.boxes, strict=True)
            assert all(torch.equal(a, b) for pair in boxes for a, b in zip(*pair, strict=True))
    assert any(not torch.equal(source(seed=1)[k].pool.images, source()[k].pool.images) for k in range(6))


def test_a_run_that_goes_on_finds_the_random_numbers_of_one_that_was_not_cut():
    before = torch.get_rng_state()
    list(multi_batches(source(), start=0, stop=2, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_box_that_left_the_view_is_not_asked_for():
    away = strong_scene(SceneViews(**QUIET, flip=False, scale=0.0, translate=1.0, erasing=0.0), SIZE)
    made = source(view=away, labeled=np.array([2]), labeled_batch=1, given=lambda place: known(*TASKS), visible=1.0)
    partly = 0
    for step in range(20):
        (boxes,) = made[step].labeled.truth.detection.boxes
        partly += len(boxes.weight) > 0 and not boxes.weight.any()
    assert partly > 2


def test_no_pool_and_nothing_known():
    batch = source(pool=np.zeros(0, np.int64), pool_batch=0, given=lambda place: Known())[0]
    assert batch.pool.images.shape == (0, 3, SIZE, SIZE)
    assert all(len(getattr(batch.labeled.truth, task).rows) == 0 for task in TASKS)
    none = source(given=lambda place: Known(detection=KnownObjects(no_boxes(), np.ones(3, bool))))[0]
    assert len(none.labeled.truth.detection.rows) == 4  # people looked, and there was nothing
