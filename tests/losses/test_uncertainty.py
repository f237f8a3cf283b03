import math

import torch

from tutelage.losses.uncertainty import robust_entropy, sure_share


def test_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [60.0, 0.0]])
    entropy = 0.811278  # of 3/4 and 1/4, in bits
    expected = torch.tensor([1.0, entropy**4, 0.0])
    torch.testing.assert_close(robust_entropy(logits, eta=2.0), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(robust_entropy(logits, eta=0.5), torch.tensor([1.0, entropy, 1e-4]), atol=1e-5, rtol=0)
    pixels = logits.T[None, :, :, None]
    torch.testing.assert_close(robust_entropy(pixels, eta=2.0)[0, :, 0], expected, atol=1e-5, rtol=0)


def test_a_sure_image_has_a_finite_slope():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    robust_entropy(logits, eta=0.5).sum().backward()
    assert logits.grad.isfinite().all()


def test_sure_pixels_by_hand():
    logits = torch.tensor([[0.0, 5.0, 5.0, 0.1], [0.0, 0.0, 0.0, 0.0]])  # classes by pixels
    shares = [sure_share(logits[None, :, :, None], confidence=tau).item() for tau in (0.5, 0.52, 0.9)]
    assert shares == [1, 0.75, 0.5]
