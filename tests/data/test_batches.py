import dataclasses
import os
import signal
from contextlib import suppress
from functools import partial
from multiprocessing import active_children

import numpy as np
import psutil
import pytest
import torch
from fresh import fresh, killed
from waiting import until

from tutelage.data.batches import Source, ahead, batches, draw, to_float, two_views
from tutelage.data.images import Images
from tutelage.data.pseudo_labels import PseudoLabels
from tutelage.data.views import Views
from tutelage.types import BadInput


class Squares(Images):
    """Twenty images of one colour each, in memory."""

    def __init__(self):
        self.size, self.cached = 12, True

    def __getitem__(self, index):
        return np.full((12, 12, 3), 10 * index, np.uint8)


@pytest.fixture
def source():
    n = 14
    pseudo = PseudoLabels(
        np.arange(n)[:, None] % 3, np.ones((n, 1), np.float32), (np.arange(n) % 2).astype(np.float32), 3
    )
    return Source(
        images=Squares(), labeled=np.arange(6), labels=np.arange(6) % 3, pool=np.arange(6, 20), pseudo=pseudo,
        views=two_views(Views(), 12), labeled_batch=4, pool_batch=5, seed=0,
    )  # fmt: skip


def equal(one, two):
    flat = [(*a.labeled, *a.unlabeled) for a in (one, two)]
    return all(torch.equal(a, b) for a, b in zip(*flat, strict=True))


@pytest.mark.parametrize("by", ["albumentations", "batch"])
def test_a_shift_out_of_the_image_is_refused(by):
    two_views(Views(by=by, crop_padding=11), 12)
    with pytest.raises(BadInput, match=r"crop_padding is 12: images of 12 pixels"):
        two_views(Views(by=by, crop_padding=12), 12)


def test_every_image_is_drawn_once_before_any_is_drawn_twice():
    drawn = np.concatenate([draw((0,), 10, 4, step) for step in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert list(drawn[:10]) != list(drawn[10:])


def test_a_batch_may_be_larger_than_the_set():
    assert np.bincount(draw((0,), 3, 9, 1)).tolist() == [3, 3, 3]


def test_an_empty_set_gives_empty_batches():
    assert len(draw((0,), 0, 4, 0)) == len(draw((0,), 4, 0, 0)) == 0


def test_a_step_has_its_batch_whatever_came_before(source):
    third = source[3]
    assert equal(list(batches(source, start=0, stop=5, workers=0))[3], third)
    assert equal(next(batches(source, start=3, stop=5, workers=0)), third)
    assert not equal(source[2], third)


def test_workers_change_nothing(source):
    alone, helped = (list(batches(source, start=0, stop=4, workers=n)) for n in (0, 2))
    assert all(equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_a_run_that_goes_on_finds_the_random_numbers_of_one_that_was_not_cut(source):
    before = torch.get_rng_state()
    list(batches(source, start=0, stop=2, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_and_pseudo_labels_stay_with_their_images(source):
    batch = source[0]
    centre = batch.labeled.weak[:, 0, 6, 6]
    assert (centre // 10 % 3 == batch.labeled.labels).all()
    pool = batch.unlabeled
    assert (pool.weak[:, 0, 6, 6] // 10 - 6 == pool.ids).all()
    assert (pool.weight == pool.ids % 2).all()
    assert (pool.target[pool.weight > 0].argmax(1) == pool.ids[pool.weight > 0] % 3).all()
    assert (pool.target[pool.weight == 0] == 0).all()


def test_two_uses_of_one_image_in_a_batch_differ(source):
    one = dataclasses.replace(source, labeled=np.full(1, 3), labels=np.zeros(1, np.int64), labeled_batch=6)
    strong_views = one[0].labeled.strong
    assert len({view.numpy().tobytes() for view in strong_views}) > 1


def test_pixels_become_numbers_between_0_and_1(source):
    batch = to_float(source[0], torch.device("cpu"))
    assert batch.labeled.weak.dtype == torch.float32
    assert 0 <= batch.unlabeled.strong.min() <= batch.unlabeled.strong.max() <= 1
    assert batch.labeled.labels.dtype == torch.int64


@pytest.mark.parametrize(("part", "field"), [("labeled", "labels"), ("unlabeled", "target"), ("unlabeled", "weight")])
def test_bytes_that_are_no_pixels_stay_what_they_are(source, part, field):
    """A one-hot target of uint8 weighed 1/255."""
    batch = source[0]
    given = getattr(getattr(batch, part), field).ceil().to(torch.uint8)
    changed = batch._replace(**{part: getattr(batch, part)._replace(**{field: given})})
    moved = getattr(to_float(changed, torch.device("cpu")), part)
    assert given.any()
    assert torch.equal(getattr(moved, field), given)
    assert moved.weak.dtype == torch.float32


class Large:
    def __getitem__(self, number):
        return bytes(1 << 20)  # more than a pipe takes that nobody reads


def dies(note):
    """With two workers, whose numbers it leaves."""
    made = ahead(Large(), start=0, stop=100, workers=2)
    next(made)
    note.write_text(" ".join(str(child.pid) for child in active_children()))
    os.kill(os.getpid(), signal.SIGKILL)


def lives(number):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def test_workers_that_wait_to_hand_over_end_with_who_wanted_them(tmp_path):
    assert fresh(killed, partial(dies, tmp_path / "workers")) == -signal.SIGKILL
    workers = [int(number) for number in (tmp_path / "workers").read_text().split()]
    assert len(workers) == 2
    until(lambda: not any(map(lives, workers)), seconds=30)
