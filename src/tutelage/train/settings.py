"""How a network is trained and on what, whatever the method."""

import math
from dataclasses import dataclass
from typing import Literal

from tutelage.types import BadInput


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """SGD with Nesterov momentum under the cosine of FixMatch (Sohn et al. 2020, sec. 2.4), and a moving average."""

    __pydantic_config__ = {"extra": "forbid"}
    lr: float = 0.03  # the highest, after the warm-up; where the loss jumps or is not finite, lower it
    momentum: float = 0.9  # of Nesterov; 0: none
    weight_decay: float = 5e-4  # not on biases and norms; more holds weights smaller
    clip: float = 10.0  # norm of the gradient, which is scaled down to it
    warmup_steps: int = 100  # over which the rate rises from 0
    ema: float = 0.999  # decay of the average that is evaluated, saved and promoted; 0.999 averages a thousand steps

    def __post_init__(self) -> None:
        if not (0 < self.lr < math.inf and 0 < self.clip < math.inf and 0 <= self.weight_decay < math.inf):
            raise BadInput(f"{self}: lr and clip are finite and above 0, weight_decay is finite and at least 0")
        if self.warmup_steps < 0 or not 0 <= self.momentum < 1:
            raise BadInput(f"{self}: warmup_steps is at least 0, momentum is in [0, 1)")
        if not 0 <= self.ema < 1:
            raise BadInput(f"ema is {self.ema}: a decay is in [0, 1); 0.999 averages about a thousand steps")

    def decay(self, done: int) -> float:
        """Of the average after `done` steps. A young one forgets its random start: its horizon is about `done` / 10."""
        return min(self.ema, done / (done + 10))


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What a run may use. Results are bit-equal only where all of this is equal."""

    __pydantic_config__ = {"extra": "forbid"}
    threads: int = 2  # of torch on the CPU
    workers: int = 1  # processes that make views; the views do not depend on it
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the hardware multiplies it
    device: Literal["auto", "cpu"] = "auto"  # auto: the GPU, where there is one
    accumulate: int = (
        1  # shares of a batch, one in memory at a time, whose gradients are averaged; more want less memory
    )
    checkpoint_seconds: float = 60.0  # between two checkpoints; so much is lost of a training that is cut off

    def __post_init__(self) -> None:
        if self.threads < 1 or self.accumulate < 1 or self.workers < 0 or not self.checkpoint_seconds >= 0:
            raise BadInput(f"{self}: threads and accumulate are at least 1, workers and checkpoint_seconds at least 0")
