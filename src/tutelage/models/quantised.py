"""Networks whose weights are rounded to few bits, while the float weights behind them stay what is trained."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import Network

FULL = 32  # bits of a float: nothing is rounded


def fake_quantised(weight: Float[Tensor, "*shape"], bits: int) -> Float[Tensor, "*shape"]:
    """`weight` at the nearest of 2^bits - 1 evenly spaced levels between -max |weight| and max |weight|.

    Zero is a level. The gradient is passed straight through, as if nothing had been rounded: Bengio et al., 2013.
    https://arxiv.org/abs/1308.3432
    """
    if bits >= FULL:
        return weight
    top = 2 ** (bits - 1) - 1
    step = (weight.detach().abs().amax() / top).clamp_min(torch.finfo(weight.dtype).tiny)
    rounded: Tensor = (weight.detach() / step).round() * step
    return rounded + (weight - weight.detach())


def quantised_weights(net: nn.Module, bits: int) -> dict[str, Float[Tensor, "..."]]:
    """Every parameter by name, matrices and kernels at `bits` bits, each with a range of its own.

    Biases and norms, a few numbers a channel, stay in full, as is the custom. For `torch.func.functional_call`.
    """
    return {name: fake_quantised(p, bits) if p.ndim > 1 else p for name, p in net.named_parameters()}


@torch.no_grad()
def quantised(net: Network, bits: int) -> Network:
    """A copy whose stored weights are the rounded ones: what to evaluate and to export after such a training."""
    again = copy.deepcopy(net)
    for parameter, rounded in zip(again.parameters(), quantised_weights(net, bits).values(), strict=True):
        parameter.copy_(rounded)
    return again
