"""How much each of several tasks counts: weights that a run finds by itself.

Uncertainty: Kendall, Gal, Cipolla. Multi-Task Learning Using Uncertainty to Weigh Losses. CVPR 2018.
https://arxiv.org/abs/1705.07115
GradNorm: Chen, Badrinarayanan, Lee, Rabinovich. Gradient Normalization for Adaptive Loss Balancing. ICML 2018.
https://arxiv.org/abs/1711.02257
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import Task

Balance = Literal["fixed", "uncertainty", "gradnorm"]
Scalars = Mapping[Task, Float[Tensor, ""]]
Numbers = Mapping[Task, Tensor]
_REGRESSIONS = {"depth"}  # eq. 5 of Kendall et al.: half of what a classification has
_LEAST = 1e-3  # of a weight of GradNorm


class Scales(nn.Module):
    """One number to learn a task: ln sigma^2 of "uncertainty", or the weight of "gradnorm"; none of "fixed".

    Each is a parameter of its own, so that one whose task a batch says nothing of has no gradient and stays.
    """

    def __init__(self, tasks: Sequence[Task], balance: Balance):
        super().__init__()
        self.tasks, self.balance = tuple(tasks), balance
        start = 1.0 if balance == "gradnorm" else 0.0
        learned = self.tasks if balance != "fixed" else ()
        self.learned = nn.ParameterDict({task: nn.Parameter(torch.tensor(start)) for task in learned})
        for task in learned:
            self.register_buffer(f"first_{task}", torch.tensor(-1.0))  # GradNorm's L(0); below 0: none yet

    @property
    def numbers(self) -> dict[Task, Tensor]:
        """What is learned, by task."""
        return {task: self.learned[task] for task in self.tasks if task in self.learned}

    def first(self, task: Task, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The first loss that this was asked about."""
        known: Tensor = getattr(self, f"first_{task}")
        known.copy_(torch.where(known < 0, loss.detach(), known))
        return known.clone()

    @torch.no_grad()
    def rescale(self) -> None:
        """GradNorm's weights sum to the number of tasks again, each above 0 (alg. 1)."""
        if self.balance == "gradnorm":
            total = torch.stack([number.clamp_(min=_LEAST) for number in self.numbers.values()]).sum()
            for number in self.numbers.values():
                number.mul_(len(self.tasks) / total)


def uncertain(losses: Scalars, log_variances: Numbers) -> tuple[dict[Task, Tensor], Float[Tensor, ""]]:
    """Factors exp(-s) of each loss, half of it for a regression, and the sum of s / 2, over tasks that have a loss.

    Eq. 7 and 10 of Kendall et al. with s = ln sigma^2. The factors have a gradient.
    """
    factors = {task: (-log_variances[task]).exp() * (0.5 if task in _REGRESSIONS else 1.0) for task in losses}
    return factors, torch.stack([log_variances[task] / 2 for task in losses]).sum()


def normalised(weights: Numbers, norms: Scalars, losses: Scalars, first: Scalars, *, alpha: float) -> Float[Tensor, ""]:
    """sum |w n - mean(w n) r^alpha|, r the share of its first loss that a task still has, over the mean of these.

    Eq. 2 of Chen et al. over tasks that have a loss. Gradients reach the weights w alone, of the first term alone.
    """
    own = torch.stack([weights[task] * norms[task].detach() for task in losses])
    left = torch.stack([(losses[task] / first[task].clamp_min(1e-8)).detach() for task in losses])
    target = own.detach().mean() * (left / left.mean().clamp_min(1e-8)) ** alpha
    return (own - target).abs().sum()


def gradient_norms(losses: Scalars, maps: Sequence[Float[Tensor, "n _ _ _"]]) -> dict[Task, Float[Tensor, ""]]:
    """Of each loss, the norm of its gradient at the maps that all heads look at.

    Chen et al. take the weights of the last shared layer. Its outputs come without a second pass through the shared
    network, and without a gradient on any parameter.
    """
    found = {}
    for task, loss in losses.items():
        slopes = torch.autograd.grad(loss, list(maps), retain_graph=True, allow_unused=True)
        found[task] = torch.stack([slope.float().square().sum() for slope in slopes if slope is not None]).sum().sqrt()
    return found
