"""Images that move by a matrix, on the device."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.data.box_moves import inverse
from tutelage.data.decoding import GREY
from tutelage.precision import full_precision


def warped(images: Float[Tensor, "n 3 s s"], matrices: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n 3 s s"]:
    """Images whose place x, y, 1 has come to matrix @ (x, y, 1), bilinear; grey comes in from beyond the edges.

    Matrices are of places in pixels, 0 being the left edge of pixel 0, as those of tutelage.data.scene_views.
    """
    if not len(images):
        return images
    size, back = images.shape[-1], inverse(matrices.float())
    # The grid asks where each pixel of the result comes from, in -1..1 from edge to edge: p = (g + 1) size / 2.
    shift = back[..., :2].sum(-1, keepdim=True) + 2 * back[..., 2:] / size - 1
    with full_precision(back):  # a grid in bfloat16 shows a pixel what lies up to two pixels beside it
        grid = F.affine_grid(torch.cat([back[..., :2], shift], dim=-1), list(images.shape), align_corners=False)
    grey = GREY / 255
    return F.grid_sample(images - grey, grid.to(images.dtype), align_corners=False) + grey
