"""How near a loss must come to what was calculated by hand."""

import torch


def close(one, other):
    torch.testing.assert_close(one, torch.as_tensor(other, dtype=one.dtype), atol=1e-6, rtol=1e-5)
