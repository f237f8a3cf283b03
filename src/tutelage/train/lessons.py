"""What loops share that learn from one part of the labelled images and are judged by another while they train."""

from typing import Any, NamedTuple

import torch
from torch import nn

from tutelage.data.batches import on_device
from tutelage.train.device import put_back_random, random_state
from tutelage.train.settings import Optimiser
from tutelage.types import Diverged, Labeled, Losses


class Lesson(NamedTuple):
    """What one step is made of. No image of a quiz may ever be trained on."""

    train: Labeled
    quiz: Labeled


def ready(lesson: Lesson, device: torch.device) -> Lesson:
    """On the device, pixels in 0..1."""
    train, quiz = (Labeled(*(on_device(x, device) for x in part)) for part in lesson)
    return Lesson(train, quiz)


class Resumable:
    """A run whose `parts` are modules and optimizers, and which counts its steps."""

    parts: tuple[str, ...]
    step: int

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on as if it had never been cut, torch's random state included, until the next step."""
        parts = {name: getattr(self, name).state_dict() for name in self.parts}
        return {**parts, "step": self.step, **random_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the run, and torch's random state, back to where `state` was taken."""
        for name in self.parts:
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]
        put_back_random(state)


def move(optimizer: torch.optim.Optimizer, terms: Losses, settings: Optimiser, *, step: int) -> None:
    """One step along the gradients that lie there, clipped. Raises Diverged where a term is not finite."""
    check_finite(terms, step=step)
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], settings.clip)
    optimizer.step()


def descend(optimizer: torch.optim.Optimizer, terms: Losses, settings: Optimiser, *, step: int) -> Losses:
    """One step down the sum of `terms`, which come back detached. Diverged where one is not finite."""
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    move(optimizer, terms, settings, step=step)
    return {name: term.detach() for name, term in terms.items()}


def check_finite(terms: Losses, *, step: int) -> None:
    """Raises Diverged where a term is not finite."""
    if not bool(torch.stack([term.detach() for term in terms.values()]).isfinite().all()):
        said = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
        raise Diverged(f"loss is not finite at step {step} ({said}). Lower the learning rates")
