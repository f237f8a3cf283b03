"""Images of which a part is hidden or comes from another image: what is seen must be understood from the rest."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

GREY = 0.5  # what hides: networks without published weights normalise it to zero


def masked(images: Float[Tensor, "n 3 h w"], *, block: int, ratio: float) -> Float[Tensor, "n 3 h w"]:
    """Squares of `block` pixels on a grid are hidden, each with chance `ratio`, each image's own.

    Hoyer, Dai, Wang, Van Gool, MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation, CVPR 2023, eqs. 4
    and 5. https://arxiv.org/abs/2212.01322
    """
    n, _, height, width = images.shape
    cells = torch.rand(n, -(-height // block), -(-width // block), device=images.device)
    return hide(images, cells <= ratio, block=block)


def hide(
    images: Float[Tensor, "n 3 h w"], cells: Bool[Tensor, "n rows columns"], *, block: int
) -> Float[Tensor, "n 3 h w"]:
    """The squares of `block` pixels that `cells` names are grey."""
    height, width = images.shape[-2:]
    over = cells.repeat_interleave(block, -2).repeat_interleave(block, -1)[:, None, :height, :width]
    return torch.where(over, GREY, images)


def mean_colours(images: Float[Tensor, "n 3 h w"], grid: tuple[int, int], *, levels: int = 8) -> Int[Tensor, "n l"]:
    """The mean colour of each of the l = rows x columns patches, as one of levels^3 words: what a hidden patch was.

    Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, app. B.1.2, take 8 levels.
    https://arxiv.org/abs/2010.11929
    """
    means = F.adaptive_avg_pool2d(images, grid).flatten(2)  # [n, 3, l]
    red, green, blue = (means * levels).long().clamp(0, levels - 1).unbind(1)
    return (red * levels + green) * levels + blue


def half_of_the_classes(
    labels: Int[Tensor, "n h w"], *, ignored: int = 255, generator: torch.Generator | None = None
) -> Bool[Tensor, "n h w"]:
    """Pixels of half, rounded up, of the classes that each label map has, drawn at random; never of `ignored`.

    Olsson, Tranheden, Pinto, Svensson, ClassMix, WACV 2021, alg. 1. https://arxiv.org/abs/2007.07936
    """
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for place, one in enumerate(labels):
        there = torch.unique(one)
        there = there[there != ignored]
        order = torch.randperm(len(there), generator=generator).to(there.device)
        chosen[place] = torch.isin(one, there[order[: (len(there) + 1) // 2]])
    return chosen


def pasted(
    over: Bool[Tensor, "n h w"], source: Float[Tensor, "n _ h w"], target: Float[Tensor, "n _ h w"]
) -> Float[Tensor, "n _ h w"]:
    """`source` where `over`, else `target`: images, one-hot labels or weights (one channel) of a class-mix alike."""
    return torch.where(over[:, None], source, target)
