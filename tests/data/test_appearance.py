import numpy as np

from tutelage.data.appearance import appearance


def test_what_appearance_sees():
    flat = np.full((2, 8, 8, 3), 51, np.uint8)
    seen = appearance(flat)
    np.testing.assert_allclose(seen[:, :3], 0.2, atol=1e-6)
    np.testing.assert_allclose(seen[:, 3:6], 0, atol=1e-6)
    noisy = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    assert (appearance(noisy)[:, -1] > seen[:, -1] + 1).all()
    turned = np.rot90(noisy, axes=(1, 2))
    np.testing.assert_allclose(appearance(turned), appearance(noisy), atol=1e-4)
