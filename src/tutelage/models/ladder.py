"""Layers that are learned one after another."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Ladder(nn.Module):
    """How many of a network's layers have had their turn, in buffers, so that a run that continues goes on there."""

    done: Tensor  # layers
    last: Tensor  # loss of the layer whose turn it is

    def __init__(self, layers: int, steps: float):
        """The turns of all `layers` together take at most `steps` optimizer steps."""
        super().__init__()
        self.layers, self.turn = layers, max(steps / layers, 1e-6)
        self.register_buffer("done", torch.zeros(()))
        self.register_buffer("last", torch.tensor(math.inf))

    def weights(
        self, schedule: Literal["stacked", "progressive", "all"]
    ) -> tuple[Float[Tensor, " layers"], Float[Tensor, ""]]:
        """What each layer's loss counts now, 0 or 1, and what comes after the last layer.

        "progressive": the layer whose turn it is; "stacked": those before it too; "all": everything from the start.
        """
        place = torch.arange(self.layers, device=self.done.device)
        if schedule == "all":
            return torch.ones_like(place, dtype=self.done.dtype), torch.ones_like(self.done)
        active = place == self.done if schedule == "progressive" else place <= self.done
        return active.to(self.done.dtype), (self.done >= self.layers).to(self.done.dtype)

    def see(self, losses: Float[Tensor, " layers"]) -> None:
        """The layers' losses in this step, of which the one whose turn it is may end its turn."""
        place = torch.arange(self.layers, device=self.done.device)
        self.last.copy_((losses.detach() * (place == self.done)).sum())

    def climb(self, step: int, threshold: float) -> None:
        """After `step` steps: on to the next layer where the loss is below `threshold` or the time is up."""
        early = self.done + (self.last < threshold)
        self.done.copy_(early.clamp_min(math.floor(step / self.turn)).clamp_max(self.layers))
