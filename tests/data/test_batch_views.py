import dataclasses

import numpy as np
import pytest
import torch

from tutelage.data import batch_views
from tutelage.data import batches as batches_module
from tutelage.data.batch_views import OPERATIONS, carried_out, planned
from tutelage.data.batches import Source, batches, to_float, two_views
from tutelage.data.images import Images
from tutelage.data.pseudo_labels import PseudoLabels
from tutelage.data.views import Views

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 28, 28), np.uint8)
STILL = Views(by="batch", flip=False, crop_padding=0, operations=0, cutout=0.0)


def views(images, settings, key=(0,), *, strong=True):
    return carried_out(planned(images, settings, key, strong=strong)).numpy() * 255


def only(monkeypatch, name):
    """Strong views whose one operation is `name`."""
    monkeypatch.setattr(batch_views, "OPERATIONS", (name,))
    return dataclasses.replace(STILL, operations=1)


def test_nothing_asked_is_nothing_done():
    for strong in (False, True):
        assert np.allclose(views(IMAGES, STILL, strong=strong), IMAGES, atol=0.01)


def test_a_flip_mirrors_half_of_the_images_to_the_pixel():
    seen = views(IMAGES, dataclasses.replace(STILL, flip=True), strong=False)
    mirrored = [np.allclose(one, image[..., ::-1], atol=0.01) for one, image in zip(seen, IMAGES, strict=True)]
    plain = [np.allclose(one, image, atol=0.01) for one, image in zip(seen, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, plain, strict=True))
    assert 8 < sum(mirrored) < 32


def test_turned_and_mirrored_images_lie_in_each_of_eight_ways_to_the_pixel():
    many = np.repeat(IMAGES[:1], 200, 0)
    seen = views(many, dataclasses.replace(STILL, flip=True, turn=True), strong=False)
    ways = [np.rot90(image, k, (1, 2)) for k in range(4) for image in (IMAGES[0], IMAGES[0][..., ::-1])]
    found = [[np.allclose(one, way, atol=0.01) for way in ways] for one in seen]
    assert np.sum(found, 1).tolist() == [1] * 200
    assert np.sum(found, 0).min() > 8  # 25 of each, but for chance
    turned = views(many, dataclasses.replace(STILL, turn=True), strong=False)
    assert {tuple(np.allclose(one, way, atol=0.01) for way in ways[1::2]) for one in turned} == {(False,) * 4}


def test_a_shift_is_of_whole_pixels_and_black_comes_in():
    dot = np.zeros((200, 3, 28, 28), np.uint8)
    dot[:, :, 14, 10] = 200
    seen = views(dot, dataclasses.replace(STILL, crop_padding=3), strong=False)
    assert np.allclose(seen.max((1, 2, 3)), 200, atol=0.05)
    places = {tuple(np.argwhere(one[0] > 199)[0] - (14, 10)) for one in seen}
    assert {y for y, _ in places} == {x for _, x in places} == set(range(-3, 4))
    white = views(np.full_like(dot, 255), dataclasses.replace(STILL, crop_padding=3), strong=False)
    assert set(np.unique(white.round())) == {0, 255}


def test_views_belong_to_their_key():
    settings = Views(by="batch", colour=1.0, grey=0.3)
    assert (views(IMAGES, settings, (1, 2)) == views(IMAGES, settings, (1, 2))).all()
    assert (views(IMAGES, settings, (1, 2)) != views(IMAGES, settings, (1, 3))).any()


def test_the_images_that_were_given_stay_as_they_are():
    given = IMAGES.copy()
    planned(given, Views(by="batch", operations=9, colour=1.0, grey=0.5), (0,), strong=True)
    assert (given == IMAGES).all()


def test_holes_are_no_larger_and_as_frequent_as_they_say():
    white = np.full((400, 3, 28, 28), 255, np.uint8)
    for chance, cut in ((0.0, range(1)), (0.5, range(160, 241)), (1.0, range(400, 401))):
        seen = views(white, dataclasses.replace(STILL, cutout=0.5, cutout_chance=chance))
        holes = [np.argwhere(one[0] == 0) for one in seen]
        assert sum(len(hole) > 0 for hole in holes) in cut
        sides = [hole.max(0) - hole.min(0) + 1 for hole in holes if len(hole)]
        assert all((side >= 5).all() and (side <= 14).all() for side in sides)
        assert all(len(hole) == side.prod() for hole, side in zip([h for h in holes if len(h)], sides, strict=True))


def test_as_many_operations_as_asked_and_never_one_twice(monkeypatch):
    asked = []
    known = {name: getattr(batch_views, name) for name in ("_geometry", "_tables")}
    for name, real in known.items():
        monkeypatch.setattr(
            batch_views,
            name,
            lambda kind, r, m, x, real=real: (asked.append((kind, _number(x))), real(kind, r, m, x))[1],
        )
    monkeypatch.setattr(batch_views, "_sharpen", lambda images, mine, random: asked.append(("sharpen", len(mine))))
    views(IMAGES, dataclasses.replace(STILL, operations=3))
    assert sum(number for _, number in asked) == 3 * len(IMAGES)
    assert sorted(kind for kind, _ in asked) == sorted(OPERATIONS)  # each asked once, of all images it is drawn for


def _number(x):
    return x if isinstance(x, int) else len(x)


def test_posterised_values_keep_their_high_bits(monkeypatch):
    seen = views(IMAGES, only(monkeypatch, "posterize")).round().astype(int)
    for one, image in zip(seen, IMAGES.astype(int), strict=True):
        assert any((one == image >> bits << bits).all() for bits in range(2, 7))


def test_solarised_values_are_turned_from_a_threshold_on(monkeypatch):
    seen = views(IMAGES, only(monkeypatch, "solarize")).round().astype(int)
    for one, image in zip(seen, IMAGES.astype(int), strict=True):
        turned = one != image
        assert (one[turned] == 255 - image[turned]).all()
        assert image[turned].min() > image[~turned].max()
        assert 127 <= image[turned].min() <= 244


def test_contrast_is_a_line_and_gamma_a_power(monkeypatch):
    ramp = np.tile(np.arange(64, 192, dtype=np.uint8).reshape(1, 1, 8, 16).repeat(2, 2), (9, 3, 1, 1))
    line = views(ramp, only(monkeypatch, "contrast"))[:, 0, ::2].reshape(9, -1)
    steps = np.diff(line, axis=1)[(line[:, :-1] > 1) & (line[:, 1:] < 254)]
    assert steps.min() >= -0.01
    assert steps.max() <= 2.01
    curve = views(ramp, only(monkeypatch, "gamma"))[:, 0, ::2].reshape(9, -1).clip(1)
    powers = np.log(curve / 255) / np.log(ramp[0, 0, ::2].reshape(-1) / 255)
    assert np.allclose(powers, powers.mean(1, keepdims=True), atol=0.05)
    assert powers.min() >= 0.5
    assert powers.max() <= 1.85


def test_equalised_values_are_evenly_spread(monkeypatch):
    dark = (IMAGES // 8).astype(np.uint8)  # 32 values, 0 to 31
    seen = views(dark, only(monkeypatch, "equalize")).round()
    for one in seen:
        values = np.unique(one)
        assert len(values) == 32
        assert values[0] == 0
        assert values[-1] == 255
        assert np.diff(values).max() < 16
    flat = np.full((2, 3, 28, 28), 7, np.uint8)
    assert (views(flat, only(monkeypatch, "equalize")) == 0).all()  # one value only: nothing to spread


def test_sharpening_leaves_plain_areas_and_raises_edges(monkeypatch):
    flat = np.full((5, 3, 28, 28), 100, np.uint8)
    light = views(flat, only(monkeypatch, "sharpen"))
    assert (light >= 75).all()
    assert (light <= 100.01).all()
    edge = flat.copy()
    edge[:, :, :, 14:] = 110
    seen = views(edge, only(monkeypatch, "sharpen"))[:, 0, 14]
    assert (seen[:, 14] - seen[:, 13] > 10.5).all()


@pytest.mark.parametrize("name", ["rotate", "shear", "scale"])
def test_what_moves_pixels_keeps_the_middle_and_moves_the_rest(monkeypatch, name):
    disc = np.zeros((30, 3, 28, 28), np.uint8)
    disc[:, :, 12:16, 12:16] = 255
    corner = np.zeros_like(disc)
    corner[:, :, 4:8, 20:24] = 255
    settings = only(monkeypatch, name)
    assert (views(disc, settings)[:, 0, 13:15, 13:15] > 100).all()
    assert any(abs(one - image).max() > 50 for one, image in zip(views(corner, settings), corner, strict=True))


def test_a_rotation_keeps_areas_and_a_scale_says_how_they_grow():
    generator = np.random.default_rng(0)
    for name, low, high in (("rotate", 1, 1), ("scale", 1 / 1.3**2, 1 / 0.7**2)):
        areas = np.linalg.det(batch_views._geometry(name, generator, 1.0, 500))
        assert low - 1e-6 <= areas.min() <= areas.max() <= high + 1e-6


def test_grey_is_without_colour_and_other_hues_leave_grey_alone():
    grey = views(IMAGES, dataclasses.replace(STILL, grey=1.0))
    assert np.allclose(grey, grey[:, :1], atol=0.01)
    assert np.allclose(grey[:, 0], np.tensordot([0.299, 0.587, 0.114], IMAGES, (0, 1)), atol=1)
    matrix = batch_views._other_colours(0.7, 0.13)
    assert np.allclose(matrix @ [9, 9, 9], [9, 9, 9], atol=0.01)
    assert np.allclose(batch_views._other_colours(1.0, 0.0), np.eye(3), atol=1e-3)
    assert np.allclose(batch_views._other_colours(0.0, 0.0) @ [255, 0, 0], 0.299 * 255, atol=0.1)


def test_a_flat_grey_image_gets_lighter_or_darker_and_nothing_else():
    flat = np.full((60, 3, 28, 28), 100, np.uint8)
    seen = views(flat, dataclasses.replace(STILL, colour=1.0))
    assert np.allclose(seen, seen[:, :1, :1, :1], atol=1.01)
    assert seen.min() > 58
    assert seen.max() < 142
    assert seen.std() > 10


def test_other_colours_are_of_four_in_five_strong_views():
    flat = np.tile(np.uint8([200, 90, 30]).reshape(1, 3, 1, 1), (400, 1, 28, 28))
    settings = dataclasses.replace(STILL, colour=1.0)
    changed = (abs(views(flat, settings) - flat) > 0.6).any((1, 2, 3)).sum()
    assert 290 < changed < 350
    assert np.allclose(views(flat, settings, strong=False), flat, atol=0.01)


def test_no_two_kinds_of_view_and_no_two_steps_share_a_key(monkeypatch, source):
    keys = []
    real = batches_module.planned
    monkeypatch.setattr(
        batches_module,
        "planned",
        lambda x, views, key, *, strong: (keys.append(key), real(x, views, key, strong=strong))[1],
    )
    for step in range(3):
        source[step]
    assert len(set(keys)) == len(keys) == 12


class Squares(Images):
    def __init__(self):
        self.size, self.cached = 28, True

    def __getitem__(self, index):
        return IMAGES[index].transpose(1, 2, 0)


@pytest.fixture
def source():
    return Source(
        images=Squares(), labeled=np.arange(6), labels=np.arange(6) % 3, pool=np.arange(6, 20),
        pseudo=PseudoLabels.none(14, 3), views=two_views(Views(by="batch"), 28), labeled_batch=4, pool_batch=5, seed=0,
    )  # fmt: skip


def test_batches_carry_plans_which_become_views_on_the_device(source):
    alone, helped = (
        [to_float(batch, torch.device("cpu")) for batch in batches(source, start=start, stop=4, workers=workers)]
        for start, workers in ((0, 0), (2, 1))
    )
    for one, two in zip(alone[2:], helped, strict=True):
        for a, b in zip((*one.labeled, *one.unlabeled), (*two.labeled, *two.unlabeled), strict=True):
            assert torch.equal(a, b)
    first = alone[0]
    assert first.labeled.weak.shape == (4, 3, 28, 28)
    assert first.unlabeled.strong.shape == (5, 3, 28, 28)
    assert first.unlabeled.strong.dtype == torch.float32
    assert first.unlabeled.strong.min() >= 0
    assert first.unlabeled.strong.max() <= 1
    nothing = dataclasses.replace(source, pool=np.arange(0), pool_batch=0, pseudo=PseudoLabels.none(0, 3))
    assert to_float(nothing[0], torch.device("cpu")).unlabeled.weak.shape == (0, 3, 28, 28)
