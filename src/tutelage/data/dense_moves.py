"""Answers for every pixel that move along with a view. Matrices are those of box_moves; s is the side in pixels."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage.types import IGNORE


def move_classes(
    classes: Int[np.ndarray, "s s"], matrix: Float[Tensor, "2 3"], clear: Bool[Tensor, "s s"]
) -> Int[Tensor, "s s"]:
    """The class of every pixel of the view; IGNORE beyond the picture's edge and under noise.

    The nearest pixel's: a mean of two classes is a third one.
    """
    there = torch.from_numpy(resampled(classes.astype(np.int16), matrix, IGNORE).astype(np.int64))
    return torch.where(clear, there, IGNORE)


def move_trust(
    weight: Float[np.ndarray, "s s"], matrix: Float[Tensor, "2 3"], clear: Bool[Tensor, "s s"]
) -> Float[Tensor, "s s"]:
    """The trust in every pixel of the view; 0 beyond the picture's edge and under noise."""
    return torch.from_numpy(resampled(weight.astype(np.float32), matrix, 0)) * clear


def move_depth(depth: Float[np.ndarray, "s s"], matrix: Float[Tensor, "2 3"]) -> Float[Tensor, "s s"]:
    """The depth of every pixel of the view, divided by how many times as large the view shows things.

    What looks twice as large is half as far away: so one network may learn depth in metres from views of any zoom, as
    from a camera that came nearer. Up to scale and shift the division changes nothing. 0 beyond the picture's edge.
    """
    zoom = matrix[:, :2].det().abs().sqrt().item()
    return torch.from_numpy(resampled(depth.astype(np.float32), matrix, 0) / np.float32(zoom))


def resampled(values: np.ndarray, matrix: Float[Tensor, "2 3"], beyond: int, *, smooth: bool = False) -> np.ndarray:
    """Values [s, s] or [s, s, c] of every pixel of the view: the nearest pixel's, or between the four around it."""
    turned = matrix[:, :2].numpy()
    # OpenCV counts from the centre of a pixel, boxes count from its left upper edge.
    shift = matrix[:, 2].numpy() + turned @ np.full(2, 0.5) - 0.5
    moved: np.ndarray = cv2.warpAffine(
        values, np.column_stack([turned, shift]).astype(np.float64), values.shape[1::-1],
        flags=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT,
        borderValue=(beyond,) * 4,
    )  # fmt: skip
    return moved
