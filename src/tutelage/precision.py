"""Where a product needs all the digits that its inputs have: places of boxes, and some losses."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast on the device of `x`: a product of float32 tensors stays float32.

    A product in bfloat16 has three digits. Distances between such products are mostly rounding.
    """
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
