"""How alike two networks see a set of images, whatever the widths of their layers."""

import torch
from jaxtyping import Float
from torch import Tensor


def dissimilarity(representations: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """1 - Pearson correlation of what a layer makes of each pair of images: 0 on the diagonal, 2 at most."""
    centred = representations - representations.mean(-1, keepdim=True)
    unit = centred / centred.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(centred.dtype).tiny)
    apart: Tensor = 1 - unit @ unit.T
    return apart


def representational_similarity(one: Float[Tensor, "n d1"], other: Float[Tensor, "n d2"]) -> Float[Tensor, ""]:
    """Pearson correlation of the dissimilarities of all pairs of images in two layers, -1 to 1; 0 where one has none.

    Kriegeskorte et al., Representational similarity analysis, 2008; used to guide architecture search by Bashivan et
    al., Teacher Guided Architecture Search, ICCV 2019. https://arxiv.org/abs/1808.01405
    """
    rows, columns = torch.triu_indices(len(one), len(one), offset=1)
    pairs = torch.stack([dissimilarity(x)[rows, columns] for x in (one, other)])
    centred = pairs - pairs.mean(-1, keepdim=True)
    sizes = centred.norm(dim=-1).prod()
    correlation: Tensor = centred.prod(0).sum() / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)
    return correlation
