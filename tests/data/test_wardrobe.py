"""Scenes of garments: what must hold of any scene, and values by hand."""

import numpy as np
import pytest

from tutelage.data import weather
from tutelage.data.textures import SOURCE, TARGET, texture
from tutelage.data.wardrobe import VISIBLE, Garment, compose_scene, cut_out


def rng(*seed):
    return np.random.default_rng(seed or 0)


def square(label=0, side=20):
    """An evenly bright garment without a shade of its own."""
    outline = np.zeros((28, 28))
    outline[14 - side // 2 : 14 + side // 2, 14 - side // 2 : 14 + side // 2] = 1
    return Garment(np.ones((28, 28)), outline, label)


def test_a_garment_is_cut_out_by_hand():
    picture = np.zeros((28, 28), np.uint8)
    picture[4:24, 4:24] = 200
    picture[4:24, 4:6] = 60  # an edge that the black around it has darkened
    picture[10:12, 10:12] = 0  # a button, which is filled
    picture[14:21, 14:21] = 0  # what is seen under a handle, which is not
    picture[0, 27] = 255  # dust
    garment = cut_out(picture, 3)
    inside = garment.outline > 0.5
    assert garment.label == 3
    assert inside.sum() == pytest.approx(400 - 49, abs=8)  # corners are rounded
    assert inside[11, 11]
    assert not inside[17, 17]
    assert not inside[0, 27]
    assert garment.shade[2, 15] == 1  # the shade goes on beyond the outline
    assert (garment.shade >= 0).all()
    assert (garment.shade <= 1).all()


def test_a_dark_garment_is_no_hole():
    picture = np.zeros((28, 28), np.uint8)
    picture[4:24, 4:24] = 20
    assert (cut_out(picture, 0).outline > 0.5).sum() == pytest.approx(400, abs=8)
    assert (cut_out(np.zeros((28, 28), np.uint8), 0).outline == 0).all()  # a black picture holds none


@pytest.mark.parametrize("domain", ["", "night", "fog"])
def test_what_holds_of_every_scene(domain):
    for seed in range(20):
        garments = [square(label, 10 + 2 * label) for label in range(6)]
        scene = compose_scene(garments, 64, rng(seed), scales=(0.2, 0.6), domain=domain)
        assert scene.masks.sum(0).max(initial=0) <= 1  # the nearer hides the farther
        assert len(scene.masks) == len(scene.labels) > 0
        depths = [np.unique(scene.depth[mask]) for mask in scene.masks]
        assert all(len(depth) == 1 for depth in depths)
        ordered = [int(depth[0]) for depth in depths]
        assert ordered == sorted(ordered)
        nothing = ~scene.masks.any(0)
        assert scene.depth[nothing].min() >= 5000 > max(ordered)
        for depth, mask, label in zip(ordered, scene.masks, scene.labels, strict=True):
            scale = 600 / depth
            whole = (10 + 2 * label) ** 2 * (scale * 64 / 28) ** 2
            assert 0.9 * VISIBLE * whole <= mask.sum() <= 1.1 * whole + 4


def test_large_is_near():
    scene = compose_scene([square()], 64, rng(3), scales=(0.5, 0.5))
    assert (scene.depth[scene.masks[0]] == 1200).all()  # 0.6 m / 0.5
    assert scene.masks[0].sum() == pytest.approx((20 * 0.5 * 64 / 28) ** 2, rel=0.06)


def test_a_garment_has_its_own_colour_to_the_edge():
    for seed in range(5):
        scene = compose_scene([square()], 64, rng(seed), scales=(0.6, 0.6))
        mask = scene.masks[0]
        inner = mask & ~_rim(mask)
        assert np.ptp(scene.pixels[inner], axis=0).max() <= 1  # nothing of the background, no dark or bright border
        outer = ~mask & ~_rim(~mask)
        bare = compose_scene([square()], 64, rng(seed), scales=(0.6, 0.6), domain="")
        np.testing.assert_array_equal(scene.pixels[outer], bare.pixels[outer])


def _rim(mask):
    padded = np.pad(mask, 1, mode="edge")
    near = [padded[1 + y : 65 + y, 1 + x : 65 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return mask & ~np.all(near, axis=0)


def test_a_scene_may_be_empty():
    scene = compose_scene([], 32, rng(), scales=(0.2, 0.6))
    assert scene.masks.shape == (0, 32, 32)
    assert scene.pixels.std() > 0


def test_equal_seeds_are_equal_scenes():
    one, two, other = (compose_scene([square()] * 3, 48, rng(seed), scales=(0.2, 0.6)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.depth, two.depth)
    assert (one.pixels != other.pixels).any()


@pytest.mark.parametrize("kind", [*SOURCE, *TARGET])
def test_textures_are_varied_and_in_range(kind):
    field = (SOURCE | TARGET)[kind](48, rng(5))
    assert field.shape == (48, 48)
    assert -1e-6 <= field.min() < field.max() <= 1 + 1e-6
    assert field.std() > 0.1
    assert (field != (SOURCE | TARGET)[kind](48, rng(6))).any()
    coloured = texture(48, {kind: (SOURCE | TARGET)[kind]}, rng(5))
    assert coloured.shape == (48, 48, 3)
    assert 0 <= coloured.min() < coloured.max() <= 1


def test_domains_have_other_backgrounds():
    assert not set(SOURCE) & set(TARGET)


def test_fog_by_its_limits():
    pixels = rng(1).random((4, 4, 3))
    np.testing.assert_allclose(weather.fog(pixels, np.zeros((4, 4)), rng()), pixels)
    far = weather.fog(pixels, np.full((4, 4), 1e4), rng())
    assert np.ptp(far, axis=(0, 1)).max() < 1e-9  # air alone, of one colour
    assert far.min() > 0.7
    near, away = (weather.fog(pixels, np.full((4, 4), metres), rng()) for metres in (1.0, 2.0))
    # exp(-2 b) is the square of exp(-b): contrasts at twice the distance are squared
    np.testing.assert_allclose(np.ptp(away) / np.ptp(pixels), (np.ptp(near) / np.ptp(pixels)) ** 2, rtol=0.2)


def test_night_is_darker_and_keeps_the_order_of_light():
    grey = np.linspace(0, 1, 16)[:, None, None] * np.ones((16, 1, 3))
    dark = weather.night(grey, rng())
    assert (dark <= grey + 1e-9).all()
    assert dark.mean() < 0.7 * grey.mean()
    assert (dark[..., 2] >= dark[..., 0]).all()  # blue


def test_a_sensor_is_noisier_in_light_and_right_on_average():
    half = np.stack([np.full((200, 200), value) for value in (0.1, 0.5, 0.8)], axis=-1)
    noisy = weather.sensor(half, rng(2))
    np.testing.assert_allclose(noisy.mean((0, 1)), [0.1, 0.5, 0.8], atol=0.002)
    assert (np.diff(noisy.std((0, 1))) > 0).all()
