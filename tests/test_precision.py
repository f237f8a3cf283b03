from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tutelage.data.box_moves import inverse, moved, one_after_another
from tutelage.data.orientations import Orientation, upright
from tutelage.data.warping import warped
from tutelage.losses.clusters import cluster_difference, cluster_means
from tutelage.precision import full_precision

PLACES = torch.tensor([[503.3, 601.7, 521.9, 633.1], [1.3, 257.7, 130.9, 389.1]])
MOVES = torch.tensor([[[1.03, 0.02, 13.3], [-0.01, 0.97, -7.7]], [[0.98, 0.1, 2.6], [0.0, 1.05, 301.7]]])
WAVE = torch.linspace(0, 640, 640).sin().mul(0.5).add(0.5).expand(1, 3, 640, 640)
POINTS = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
PRODUCTS: dict[str, Callable[[], Tensor]] = {
    "moved": lambda: moved(PLACES, MOVES[0], 640)[0],
    "upright": lambda: upright(PLACES, Orientation(mirrored=True), 640),
    "inverse": lambda: inverse(MOVES),
    "one after another": lambda: one_after_another(MOVES[0], MOVES[1]),
    "warped": lambda: warped(WAVE, MOVES[:1]),
    "difference of clusters": lambda: cluster_difference(POINTS, POINTS[:10]),
    "means of clusters": lambda: cluster_means(POINTS, torch.arange(64) % 4, torch.zeros(4, 32), decay=0.9),
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_places_and_differences_are_the_same_under_autocast(product: Callable[[], Tensor]):
    with torch.autocast("cpu", torch.bfloat16):
        under = product()
    torch.testing.assert_close(under, product(), rtol=0, atol=0)


def test_products_keep_their_digits_where_autocast_would_take_them():
    x = torch.randn(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = x @ x
        with full_precision(x):
            exact = x @ x
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(exact, x @ x, rtol=0, atol=0)


def test_a_device_without_autocast_is_left_alone():
    x = torch.zeros(2, 2, device="meta")
    with full_precision(x):
        assert (x @ x).dtype == torch.float32
