"""How the tensors of a network lie in memory."""

import torch
from torch import nn

FEW = range(2, 8)  # channels


def layout(net: nn.Module) -> torch.memory_format:
    """Channels last, which is faster, but for networks with a 1x1 convolution of few channels that has a stride.

    On a CPU without AVX-512, torch 2.14.1 writes beyond its memory in the backward pass of that: RepVGG and FastViT,
    whose stems have it, end in a segmentation fault.
    """
    stems = (
        module.kernel_size == (1, 1) and module.stride != (1, 1) and module.in_channels in FEW
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    )  # fmt: skip
    return torch.contiguous_format if any(stems) else torch.channels_last
