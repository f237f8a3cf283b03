"""Which neurons of an embedding are worth learning: those that tell classes apart and do not repeat each other."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Statistics(nn.Module):
    """Sums over all embeddings [n, d] that were seen, in buffers, by class and for pairs of neurons."""

    count: Tensor
    sums: Tensor
    products: Tensor

    def __init__(self, neurons: int, classes: int):
        super().__init__()
        # In double: variances are small differences of large sums, and autocast leaves doubles alone.
        for name, shape in (("count", (classes,)), ("sums", (classes, neurons)), ("products", (neurons, neurons))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.double))

    @torch.no_grad()
    def see(self, embedding: Float[Tensor, "n d"], labels: Int[Tensor, " n"], weight: Float[Tensor, ""]) -> None:
        """Add embeddings whose classes are known, each counting `weight`; one batch that is not finite is left out."""
        counts = embedding.isfinite().all() & (weight > 0)
        x = torch.where(counts, embedding, 0.0).double()
        classes = torch.arange(len(self.count), device=labels.device)
        members = (labels[:, None] == classes) * torch.where(counts, weight, 0.0).double()  # [n, c]
        self.count += members.sum(0)
        self.sums += members.mT @ x
        self.products += (x * members.sum(1, keepdim=True)).mT @ x

    def fisher(self) -> Float[Tensor, " d"]:
        """Variance between the classes' means over variance within them; 0 where a neuron never changes."""
        count, total = self.count[:, None].clamp_min(1), self.count.sum().clamp_min(1)
        within = self.products.diagonal() - (self.sums.square() / count).sum(0)
        between = (self.sums.square() / count).sum(0) - self.sums.sum(0).square() / total
        noise = 1e-12 * self.products.diagonal()  # of sums in double
        between = torch.where(between > noise, between, 0.0)
        return between / torch.maximum(within, noise).clamp_min(torch.finfo(torch.double).tiny)

    def correlation(self) -> Float[Tensor, "d d"]:
        """Of each pair of neurons, from -1 to 1; 0 where one of them never changes."""
        total = self.count.sum().clamp_min(1)
        covariance = self.products - self.sums.sum(0)[:, None] * self.sums.sum(0) / total
        spread = covariance.diagonal().clamp_min(0).sqrt()
        return covariance / (spread[:, None] * spread).clamp_min(torch.finfo(torch.double).tiny)


def chosen(
    value: Float[Tensor, " d"], correlation: Float[Tensor, "d d"], *, limit: float, most: int
) -> Bool[Tensor, " d"]:
    """The most valuable neurons, best first, up to `most`: each correlates less than `limit` with all before it.

    Of value 0 none is taken. Reads no number on the host: all `d` neurons are gone through on the device.
    """
    order = value.argsort(descending=True, stable=True)
    near = correlation.abs()[order][:, order] >= limit
    worth = value[order] > 0
    taken = torch.zeros_like(worth)
    for place in range(len(value)):
        alone = ~(near[place] & taken).any()
        taken[place] = worth[place] & alone & (taken.sum() < most)
    return torch.zeros_like(taken).scatter(0, order, taken)
