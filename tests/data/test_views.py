import pickle

import numpy as np
import pytest

from tutelage.data.views import Views, stack, strong, weak
from tutelage.types import BadInput

IMAGE = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)


@pytest.mark.parametrize("make", [weak, strong])
def test_a_view_belongs_to_its_key_whatever_was_asked_before(make):
    view, other = make(Views(), 28), pickle.loads(pickle.dumps(make(Views(), 28)))  # as a process is sent it
    for key in range(5):
        other(IMAGE, (9, key))
    first = view(IMAGE, (0, 1))
    assert (first == other(IMAGE, (0, 1))).all()
    assert any((first != view(IMAGE, (0, key))).any() for key in range(2, 8))


@pytest.mark.parametrize("make", [weak, strong])
def test_shape_and_type_stay(make):
    seen = make(Views(), 28)(IMAGE, (0,))
    assert seen.shape == (28, 28, 3)
    assert seen.dtype == np.uint8


def test_nothing_asked_is_nothing_done():
    plain = Views(flip=False, crop_padding=0, operations=0, cutout=0.0)
    assert (weak(plain, 28)(IMAGE, (0,)) == IMAGE).all()
    assert (strong(plain, 28)(IMAGE, (0,)) == IMAGE).all()


def test_no_flip_without_leave():
    """A digit must not be mirrored: without shift, a weak view is the image itself."""
    view = weak(Views(flip=False, crop_padding=0), 28)
    assert all((view(IMAGE, (key,)) == IMAGE).all() for key in range(20))


def test_an_image_without_an_up_is_turned_by_quarters():
    view = weak(Views(flip=False, turn=True, crop_padding=0), 28)
    ways = [np.rot90(IMAGE, k) for k in range(4)]
    found = np.array([[(view(IMAGE, (key,)) == way).all() for way in ways] for key in range(60)])
    assert found.sum(1).tolist() == [1] * 60
    assert found.sum(0).min() > 4


def test_cutout_is_a_hole_no_larger_than_it_says():
    view = strong(Views(flip=False, crop_padding=0, operations=0, cutout=0.5), 28)
    white = np.full((28, 28, 3), 255, np.uint8)
    for key in range(20):
        holes = np.argwhere(view(white, (key,))[..., 0] == 0)
        side = holes.max(0) - holes.min(0) + 1
        assert (side <= 14).all()
        assert len(holes) == side.prod()


def test_cutout_happens_as_often_as_it_says():
    white = np.full((28, 28, 3), 255, np.uint8)
    for chance, cut in ((0.0, range(1)), (0.5, range(80, 121)), (1.0, range(200, 201))):
        view = strong(Views(flip=False, crop_padding=0, operations=0, cutout_chance=chance), 28)
        assert sum((view(white, (key,)) == 0).any() for key in range(200)) in cut


@pytest.mark.parametrize(
    "fields",
    [
        {"magnitude": 0.0},
        {"cutout_chance": 1.5},
        {"cutout": 1.0},
        {"operations": 12},
        {"crop_padding": -1},
        {"colour": 2.5},
        {"grey": -0.1},
    ],
)
def test_a_wrong_strength_is_refused(fields):
    with pytest.raises(BadInput, match=next(iter(fields))):
        Views(**fields)


def test_other_colours_are_of_strong_views_alone():
    grey = Views(grey=1.0, operations=0, cutout=0.0)
    seen = strong(grey, 28)(IMAGE, (0,))
    assert (seen == seen[..., :1]).all()
    assert (weak(grey, 28)(IMAGE, (0,)) == weak(Views(), 28)(IMAGE, (0,))).all()
    plain, changed = (strong(Views(colour=c, operations=0, cutout=0.0), 28)(IMAGE, (0,)) for c in (0.0, 2.0))
    assert (plain != changed).any()


def test_no_images_are_a_batch_of_none():
    assert stack([], 28).shape == (0, 3, 28, 28)
