import dataclasses

import numpy as np
import pytest
import torch

from tutelage.data.batches import draw, to_float
from tutelage.data.box_moves import move_boxes
from tutelage.data.boxes import Given
from tutelage.data.images import Images
from tutelage.data.scene_batches import SceneSource, scene_batches
from tutelage.data.scene_views import SceneViews, strong_scene, weak_scene, whole_scene
from tutelage.methods.detection.opinions import to_strong

SIZE = 48
CLEAR = torch.ones(SIZE, SIZE, dtype=torch.bool)


class Rectangles(Images):
    """Twenty images of 48 pixels: on black a rectangle as red as the row's number says."""

    def __init__(self):
        self.size, self.cached = SIZE, True

    def __getitem__(self, index):
        image = np.full((SIZE, SIZE, 3), 20, np.uint8)
        x1, y1, x2, y2 = place(index)
        image[y1:y2, x1:x2] = (180 + 3 * index, 0, 0)
        return image


def place(row):
    """Of the rectangle of a row, in the letterboxed image."""
    return 14 + row % 3, 16, 26 + row % 3, 30


class Marks:
    """One object an image but in every third; originals are 96 x 72, so twice the letterboxed size."""

    def __getitem__(self, row):
        places = 2 * np.array([place(row), (0, 0, 2, 2)], np.float32)[: 0 if row % 3 == 2 else 2]
        crowd = np.array([False, True])[: len(places)]
        return Given(places, np.full(len(places), row % 3), crowd, np.ones(len(places), np.float32))


class Opinions:
    """Offline boxes of the rows 6 to 19: none for odd places of the pool."""

    image_weight = (np.arange(14) % 2 == 0).astype(np.float32)

    def __getitem__(self, number):
        k = 1 if number % 2 == 0 else 0
        places = 2 * np.array([place(6 + number)], np.float32)[:k]
        return places, np.full(k, 1), np.full(k, 0.75, np.float32), np.full(k, 0.5, np.float32)


@pytest.fixture
def source():
    views = SceneViews(erasing=0.0, colour=0.0, grey=0.0, blur=0.0)
    return SceneSource(
        images=Rectangles(), sizes=np.tile([96, 72], (20, 1)), annotations=Marks(), classes=3, labeled=np.arange(6),
        pool=np.arange(6, 20), pseudo=Opinions(), weak=weak_scene(views, SIZE), strong=strong_scene(views, SIZE),
        whole=whole_scene(views, SIZE), labeled_batch=4, pool_batch=5, seed=0,
    )  # fmt: skip


def flat(batch):
    for part in batch:
        for field in part:
            yield from [value for boxes in field for value in boxes] if isinstance(field, tuple) else [field]


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(flat(one), flat(two), strict=True))


def bright(image):
    """The hull of the object in a view."""
    rows, columns = np.nonzero(image[0].numpy() > 160)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)


def test_a_step_has_its_batch_whatever_came_before(source):
    fresh = source[3]
    assert equal(list(scene_batches(source, start=0, stop=5, workers=0))[3], fresh)
    assert equal(next(scene_batches(source, start=3, stop=5, workers=0)), fresh)
    assert not equal(source[2], fresh)


def test_workers_change_nothing(source):
    alone, helped = (list(scene_batches(source, start=0, stop=3, workers=n)) for n in (0, 2))
    assert all(equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_a_view_that_nobody_reads_is_the_plain_scene_and_the_others_stay(source):
    spared = dataclasses.replace(source, unread=frozenset({"labeled.strong", "pool.weak"}))
    (scenes, pool), (known, marked) = spared[1], source[1]
    assert equal([scenes[:2]], [known[:2]])
    assert equal([pool[2:4]], [marked[2:4]])
    assert torch.equal(pool.weak[0], torch.from_numpy(source.images[int(source.pool[pool.ids[0]])]).permute(2, 0, 1))
    for image, given in zip(pool.weak, pool.weak_boxes, strict=True):
        if len(given.places) and given.weight[0]:
            torch.testing.assert_close(given.places[0], bright(image), atol=1.3, rtol=0)


def test_a_teacher_is_shown_all_of_an_image_of_the_pool(source):
    """What the strong view shows and the weak one does not would be taught as background."""
    for step in range(4):
        pool = source[step].pool
        for image, row in zip(pool.weak, source.pool[pool.ids], strict=True):
            plain = torch.from_numpy(source.images[int(row)]).permute(2, 0, 1)
            assert torch.equal(image, plain) or torch.equal(image.flip(-1), plain)


def test_a_run_that_goes_on_finds_the_random_numbers_of_one_that_was_not_cut(source):
    before = torch.get_rng_state()
    list(scene_batches(source, start=0, stop=2, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_boxes_lie_where_the_objects_are_in_both_views(source):
    found = 0
    for step in range(6):
        scenes, pool = source[step]
        views = [(scenes.weak, scenes.weak_boxes), (scenes.strong, scenes.strong_boxes)]
        views += [(pool.weak, pool.weak_boxes), (pool.strong, pool.strong_boxes)]
        for images, boxes in views:
            for image, given in zip(images, boxes, strict=True):
                if len(given.places) and given.weight[0] and (image[0] > 160).any():
                    torch.testing.assert_close(given.places[0], bright(image), atol=1.3, rtol=0)
                    found += 1
    assert found > 40


def test_a_crowd_is_there_and_not_believed(source):
    crowds = [boxes for step in range(3) for boxes in source[step].labeled.weak_boxes if len(boxes.places) == 2]
    assert crowds
    assert all(boxes.weight[1] == boxes.place_weight[1] == 0 for boxes in crowds)
    assert any(boxes.weight[0] == boxes.place_weight[0] == 1 for boxes in crowds)


def test_a_crowd_over_the_whole_image_is_a_class_that_nobody_looked_for(source):
    class Partly(Marks):
        def __getitem__(self, row):
            places, labels, crowd, area = super().__getitem__(row)
            if row % 2:  # of odd rows nobody looked for class 2; originals are 96 x 72
                places, labels = np.vstack([places, [[0, 0, 96, 72]]]).astype(np.float32), np.append(labels, 2)
                crowd, area = np.append(crowd, True), np.append(area, np.float32(1))
            return Given(places, labels, crowd, area)

    partly = dataclasses.replace(source, annotations=Partly())
    for step in range(3):
        was, now = source[step].labeled, partly[step].labeled
        assert was.known.all()
        assert was.known.shape == (4, 3)
        rows = source.labeled[draw((source.seed, 10), len(source.labeled), 4, step)]
        assert now.known.tolist() == [[True, True, row % 2 == 0] for row in rows]
        assert equal(source[step], partly[step]._replace(labeled=now._replace(known=was.known)))  # no box for it


def test_what_a_teacher_said_stays_with_its_image(source):
    pool = source[0].pool
    assert (pool.weight == (pool.ids % 2 == 0)).all()
    for id_, boxes in zip(pool.ids.tolist(), pool.strong_boxes, strict=True):
        assert len(boxes.labels) == (id_ % 2 == 0)
        assert set(boxes.weight.tolist()) <= {0.75}
        assert set(boxes.place_weight.tolist()) <= {0.5}
        assert set(boxes.labels.tolist()) <= {1}


def test_move_takes_the_weak_view_to_the_strong_one(source):
    for step in range(4):
        pool = source[step].pool
        for weak, strong, move in zip(pool.weak_boxes, pool.strong_boxes, pool.move, strict=True):
            if len(weak.places) and len(strong.places) and not {0.0, 48.0} & set(weak.places.flatten().tolist()):
                there = move_boxes(weak, move, CLEAR, visible=0.25)
                torch.testing.assert_close(there.places, strong.places, atol=1e-3, rtol=0)


def test_a_box_that_is_hardly_seen_is_not_believed(source):
    """Shifted by up to the whole side, most boxes are cut: some are gone, some are there without weight."""
    far = weak_scene(SceneViews(flip=False, scale=0.0, translate=0.8), SIZE)
    weights = []
    for step in range(8):
        for boxes in dataclasses.replace(source, strong=far, visible=0.5)[step].pool.strong_boxes:
            weights += [(boxes.places[0].tolist(), boxes.weight[0].item())] if len(boxes.places) else []
    assert {weight for _, weight in weights} == {0.0, 0.75}
    for (x1, y1, x2, y2), weight in weights:
        assert (weight > 0) == ((x2 - x1) * (y2 - y1) >= 0.5 * 12 * 14)


def test_boxes_that_a_teacher_finds_while_training_lose_what_those_from_before_lose(source):
    """Under rectangles of noise as beyond the edge."""
    noise = SceneViews(colour=0.0, grey=0.0, blur=0.0, translate=0.3)
    noisy, lost = dataclasses.replace(source, strong=strong_scene(noise, SIZE), visible=0.8), 0
    for step in range(8):
        pool = noisy[step].pool
        for there, expected in zip(to_strong(pool.weak_boxes, pool), pool.strong_boxes, strict=True):
            torch.testing.assert_close(there, expected, atol=1e-3, rtol=0)
            lost += int((expected.weight == 0).sum())
    assert lost > 2


def test_an_empty_pool_is_a_batch_of_none(source):
    empty = dataclasses.replace(source, pool=np.zeros(0, np.int64))
    batch = next(scene_batches(empty, start=0, stop=1, workers=0))
    assert batch.pool.weak.shape == (0, 3, SIZE, SIZE)
    assert batch.pool.move.shape == (0, 2, 3)
    assert batch.pool.weak_boxes == ()
    assert len(batch.labeled.weak_boxes) == 4


def test_pixels_become_numbers_between_0_and_1_and_boxes_stay(source):
    batch = source[0]
    there = to_float(batch, torch.device("cpu"))
    assert type(there.pool.strong_boxes[0]) is type(batch.pool.strong_boxes[0])
    assert there.labeled.weak.dtype == torch.float32
    assert 0 <= there.pool.strong.min() <= there.pool.strong.max() <= 1
    assert torch.equal(there.pool.ids, batch.pool.ids)


def test_two_uses_of_one_image_in_a_batch_differ(source):
    one = dataclasses.replace(source, labeled=np.full(1, 3), labeled_batch=6)
    assert len({view.numpy().tobytes() for view in one[0].labeled.strong}) > 1
