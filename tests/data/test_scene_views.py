import collections
import pickle

import numpy as np
import pytest
import torch

from tutelage.data.box_moves import inverse, move_boxes, moved, one_after_another
from tutelage.data.decoding import GREY
from tutelage.data.scene_views import SceneViews, _warped, strong_scene, weak_scene
from tutelage.data.views import albumentations
from tutelage.types import BadInput, Boxes

SIZE = 64
CLEAR = torch.ones(SIZE, SIZE, dtype=torch.bool)
QUIET = {"colour": 0.0, "grey": 0.0, "blur": 0.0, "erasing": 0.0}
STILL = {"flip": False, "scale": 0.0, "translate": 0.0}
BOX = (20.0, 24.0, 42.0, 40.0)


def rectangle(box=BOX):
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    x1, y1, x2, y2 = map(int, box)
    image[y1:y2, x1:x2] = 255
    return image


def one(box=BOX):
    return torch.tensor([box])


def hull(image):
    """Of white pixels, as a box; those that are half white count half."""
    rows, columns = np.nonzero(image[..., 0] > 127)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)


def ways():
    noise = {"grey": 0.0, "blur": 0.0, "erasing": 0.0, "colour": 0.0}
    yield "weak", weak_scene(SceneViews(), SIZE)
    yield "strong", strong_scene(SceneViews(**noise), SIZE)
    yield "turned", strong_scene(SceneViews(**noise, geometry=True), SIZE)


@pytest.mark.parametrize("view", [pytest.param(view, id=name) for name, view in ways()])
def test_the_box_holds_the_pixels_of_its_object(view):
    for key in range(60):
        seen = view(rectangle(), one(), (key,))
        assert (seen.image > 127).any() == (len(seen.places) > 0)
        if len(seen.places):
            place, pixels = seen.places[0], hull(seen.image)
            assert (pixels[:2] >= place[:2] - 1).all()
            assert (pixels[2:] <= place[2:] + 1).all()


@pytest.mark.parametrize("view", [pytest.param(view, id=name) for name, view in ways() if name != "turned"])
def test_without_a_turn_the_box_is_the_hull_of_its_object(view):
    mirrored = 0
    for key in range(60):
        seen = view(rectangle(), one(), (key,))
        if len(seen.places) and seen.visible[0] == 1:
            torch.testing.assert_close(seen.places[0], hull(seen.image), atol=1.0, rtol=0)
            mirrored += bool(seen.matrix[0, 0] < 0)
    assert 10 < mirrored < 50


def test_a_turned_box_touches_its_object():
    """A rectangle's hull after a rotation or a shear is the hull of its corners: no pixel to spare."""
    view, turned = strong_scene(SceneViews(**QUIET, **STILL, geometry=True), SIZE), 0
    for key in range(60):
        seen = view(rectangle(), one(), (key,))
        turned += bool(seen.matrix[0, 1] != 0)
        if seen.visible[0] == 1:
            torch.testing.assert_close(seen.places[0], hull(seen.image), atol=2.5, rtol=0)
    assert turned > 20


def test_a_turn_is_one_of_five_and_no_further_than_asked():
    view, kinds = strong_scene(SceneViews(**QUIET, **STILL, geometry=True), SIZE), collections.Counter()
    for key in range(300):
        matrix = view(rectangle(), one(), (key,)).matrix.numpy()
        change, shift = matrix[:, :2], matrix[:, 2] + matrix[:, :2].sum(1) * SIZE / 2 - SIZE / 2
        apart = change - np.eye(2)
        if not apart.any():
            kinds["shift", int(np.abs(shift).argmax())] += 1
            assert np.count_nonzero(shift) == 1
            assert np.abs(shift).max() <= 0.1 * SIZE
        elif np.count_nonzero(apart) == 1:
            kinds["shear", int(np.abs(apart).max(1).argmax())] += 1
            assert change.diagonal().tolist() == [1, 1]
            assert np.abs(apart).max() <= np.tan(np.pi / 6)
        else:
            kinds["rotation"] += 1
            np.testing.assert_allclose(change @ change.T, np.eye(2), atol=1e-12)
            assert np.linalg.det(change) > 0
            assert change[0, 0] >= np.cos(np.pi / 6)
            np.testing.assert_allclose(shift, 0, atol=1e-9)
    assert len(kinds) == 5
    assert min(kinds.values()) > 30


def test_pixels_and_boxes_are_those_of_albumentations():
    """A scale and a shift; Albumentations shifts by whole pixels only."""
    A = albumentations()
    boxes = np.array([BOX, (0, 0, 10, 12), (30, 30, 64, 64)], np.float64)
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    affine = A.Affine(scale=0.8, translate_px={"x": 5, "y": -3}, fill=GREY, p=1)
    theirs = A.Compose([affine], bbox_params=A.BboxParams("pascal_voc", label_fields=[], clip=True))
    theirs = theirs(image=image, mask=np.ones((SIZE, SIZE), np.uint8), bboxes=boxes)
    matrix = torch.tensor([[0.8, 0, 32 - 0.8 * 32 + 5], [0, 0.8, 32 - 0.8 * 32 - 3]], dtype=torch.float64)
    seen, clear = _warped(image, matrix, SIZE)
    places, _ = moved(torch.from_numpy(boxes), matrix, SIZE)
    torch.testing.assert_close(places, torch.from_numpy(theirs["bboxes"]).double(), atol=1e-3, rtol=0)
    assert np.abs(seen.astype(int) - theirs["image"]).max() <= 1
    assert np.array_equal(clear, theirs["mask"])


def test_a_flip_by_hand():
    view = weak_scene(SceneViews(scale=0.0, translate=0.0), SIZE)
    seen = next(s for s in (view(rectangle(), one(), (key,)) for key in range(20)) if s.matrix[0, 0] < 0)
    assert seen.places.tolist() == [[SIZE - 42, 24, SIZE - 20, 40]]
    assert seen.matrix.tolist() == [[-1, 0, SIZE], [0, 1, 0]]
    assert (seen.image == rectangle()[:, ::-1]).all()


@pytest.mark.parametrize("make", [weak_scene, strong_scene])
def test_a_view_belongs_to_its_key_whatever_was_asked_before(make):
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    view = make(SceneViews(geometry=True), SIZE)
    other = pickle.loads(pickle.dumps(view))  # as a process is sent it that is no fork
    for key in range(5):
        other(image, one(), (9, key))
    first, again = view(image, one(), (0, 1)), other(image, one(), (0, 1))
    assert (first.image == again.image).all()
    assert all(torch.equal(a, b) for a, b in zip(first[1:], again[1:], strict=True))
    assert any((first.image != view(image, one(), (0, key)).image).any() for key in range(2, 8))


def test_boxes_of_the_weak_view_move_to_the_strong_one():
    weak, strong = weak_scene(SceneViews(), SIZE), strong_scene(SceneViews(geometry=True, erasing=0.0), SIZE)
    compared = 0
    for key in range(40):
        one_view, other = weak(rectangle(), one(), (key, 0)), strong(rectangle(), one(), (key, 1))
        if not len(one_view.places) or one_view.visible[0] < 1:
            continue  # what the weak view does not show cannot be brought over
        move = one_after_another(inverse(one_view.matrix), other.matrix)
        boxes = Boxes(one_view.places, torch.zeros(1).long(), torch.ones(1), torch.ones(1))
        there = move_boxes(boxes, move, CLEAR, visible=0.25)
        torch.testing.assert_close(there.places, other.places, atol=1e-3, rtol=0)
        assert bool((there.weight > 0).all()) == bool((other.visible >= 0.25).all())
        compared += 1
    assert compared > 20


def test_what_is_left_of_a_box_by_hand():
    """Moved by 50 to the right in a square of 64, a box from 4 to 24 shows 10 of its 20 columns."""
    shift = torch.tensor([[1.0, 0, 50], [0, 1, 0]])
    places, share = moved(torch.tensor([[4.0, 8, 24, 16], [20, 8, 30, 16]]), shift, SIZE)
    assert places.tolist() == [[54, 8, 64, 16], [64, 8, 64, 16]]
    assert share.tolist() == [0.5, 0.0]
    boxes = Boxes(torch.tensor([[4.0, 8, 24, 16], [20, 8, 30, 16]]), torch.tensor([1, 2]), torch.ones(2), torch.ones(2))
    kept = move_boxes(boxes, shift, CLEAR, visible=0.6)
    assert kept.labels.tolist() == [1]
    assert kept.weight.tolist() == kept.place_weight.tolist() == [0.0]
    assert move_boxes(boxes, shift, CLEAR, visible=0.4).weight.tolist() == [1.0]


def test_a_box_that_left_is_dropped_and_the_others_keep_their_numbers():
    view = weak_scene(SceneViews(flip=False, scale=0.0, translate=1.0), SIZE)
    places = torch.tensor([[0.0, 0, 6, 6], [58, 58, 64, 64], BOX])
    dropped = 0
    for key in range(30):
        seen = view(rectangle(), places, (key,))
        dropped += len(places) - len(seen.kept)
        torch.testing.assert_close(
            seen.places, moved(places, seen.matrix.float(), SIZE)[0][seen.kept], atol=1e-5, rtol=0
        )
    assert dropped > 20


def test_noise_over_a_box_takes_from_what_is_seen():
    view = strong_scene(SceneViews(**STILL, colour=0.0, grey=0.0, blur=0.0), SIZE)
    hidden = []
    for key in range(40):
        seen = view(rectangle(), one(), (key,))
        inside = seen.image[24:40, 20:42]
        assert seen.visible[0] == pytest.approx((inside == 255).all(-1).mean(), abs=0.02)
        hidden.append(1 - seen.visible[0].item())
    assert max(hidden) > 0.3
    assert min(hidden) == 0


def test_beyond_the_edge_is_grey():
    view = weak_scene(SceneViews(flip=False, scale=0.0, translate=0.5), SIZE)
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    for key in range(5):
        seen = view(white, one(), (key,))
        assert (seen.image[~seen.clear.numpy()] == GREY).mean() > 0.95  # half a pixel on the edge is both
        assert (seen.image[seen.clear.numpy()] == 255).mean() > 0.95
        assert seen.image.min() == GREY


def test_a_negative_by_hand_is_no_weak_view():
    """White becomes black and black white; boxes stay."""
    views, image = SceneViews(**QUIET, **STILL, negative=1.0), rectangle()
    seen = strong_scene(views, SIZE)(image, one(), (0,))
    assert np.array_equal(seen.image, 255 - image)
    assert torch.equal(seen.places, one())
    assert np.array_equal(weak_scene(views, SIZE)(image, one(), (0,)).image, image)


def test_nothing_asked_is_nothing_done():
    for make in (weak_scene, strong_scene):
        seen = make(SceneViews(**QUIET, **STILL), SIZE)(rectangle(), one(), (0,))
        assert (seen.image == rectangle()).all()
        assert seen.places.tolist() == [list(BOX)]
        assert seen.matrix.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_an_image_without_boxes_has_a_view():
    for make in (weak_scene, strong_scene):
        seen = make(SceneViews(geometry=True), SIZE)(rectangle(), torch.zeros(0, 4), (1,))
        assert seen.places.shape == (0, 4)
        assert len(seen.kept) == len(seen.visible) == 0


@pytest.mark.parametrize(
    "fields", [{"scale": 0.95}, {"translate": -0.1}, {"colour": 2.5}, {"blur": float("nan")}, {"visible": 1.1}]
)
def test_a_wrong_strength_is_refused(fields):
    with pytest.raises(BadInput, match=f"scene_views.{next(iter(fields))} is .* Leave it out"):
        SceneViews(**fields)
