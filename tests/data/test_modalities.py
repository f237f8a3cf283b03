import torch

from tutelage.data.modalities import seen_as


def test_values():
    image = torch.zeros(1, 3, 2, 3)
    image[0, 0, 0, 0], image[0, 1, 1, 1] = 1.0, 0.5
    assert seen_as(image, "colour") is image
    grey = torch.tensor([[0.299, 0.0, 0.0], [0.0, 0.2935, 0.0]])
    torch.testing.assert_close(seen_as(image, "grey"), grey.expand(1, 3, 2, 3))
    edges = torch.tensor([[0.299 * 2**0.5, 0.2935, 0.0], [0.2935, 0.2935, 0.0]])
    torch.testing.assert_close(seen_as(image, "edges"), edges.expand(1, 3, 2, 3), atol=1e-5, rtol=0)


def test_a_flat_image_has_a_gradient_and_no_image_none():
    flat = torch.ones(1, 3, 4, 4, requires_grad=True)
    seen_as(flat, "edges").sum().backward()
    assert flat.grad.isfinite().all()
    assert seen_as(flat[:0], "edges").shape == (0, 3, 4, 4)
