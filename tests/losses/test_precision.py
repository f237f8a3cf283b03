import torch

from tutelage.losses.precision import full_precision


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
