"""Key points as heat-maps. Maps of j points on n images come as [n, j, h, w]; a point is x, y, both from 0 to 1."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def gaussian_maps(points: Float[Tensor, "n j 2"], *, size: tuple[int, int], sigma: float) -> Float[Tensor, "n j h w"]:
    """exp(-d^2 / 2 sigma^2), d being the distance in cells from the point to the middle of each of h x w cells.

    Tompson et al., Joint Training of a Convolutional Network and a Graphical Model for Human Pose Estimation, NeurIPS
    2014. https://arxiv.org/abs/1406.2984
    """
    height, width = size
    x = torch.arange(width, device=points.device) + 0.5 - points[..., :1] * width
    y = torch.arange(height, device=points.device) + 0.5 - points[..., 1:] * height
    return torch.exp(-(y[..., :, None].square() + x[..., None, :].square()) / (2 * sigma**2))


def map_mse(
    said: Float[Tensor, "n j h w"], wanted: Float[Tensor, "n j h w"], visible: Bool[Tensor, "n j"]
) -> Float[Tensor, ""]:
    """Mean squared difference over all n j h w; points that are not visible count as none."""
    return ((said - wanted).square() * visible[..., None, None]).mean()


def spatial_kl(
    said: Float[Tensor, "n j h w"], told: Float[Tensor, "n j h w"], visible: Bool[Tensor, "n j"]
) -> Float[Tensor, ""]:
    """KL(told || said) of the softmax over the h w cells of each visible point, summed, over n h w. `told` learns too.

    Li et al., Online Knowledge Distillation for Efficient Pose Estimation, ICCV 2021.
    https://arxiv.org/abs/2108.02092
    """
    log_said, log_told = (maps.flatten(2).log_softmax(-1) for maps in (said, told))
    rows = (log_told.exp() * (log_told - log_said)).sum(-1)
    return (rows * visible).sum() / (said.shape[0] * said.shape[2] * said.shape[3])


def peaks(maps: Float[Tensor, "n j h w"]) -> Float[Tensor, "n j 2"]:
    """The middle of the cell where each map is highest, the first of several."""
    width, height = maps.shape[-1], maps.shape[-2]
    best = maps.flatten(2).argmax(-1)
    return torch.stack([(best % width + 0.5) / width, (best // width + 0.5) / height], dim=-1)
