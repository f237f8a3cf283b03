"""Moving averages of networks, and networks that only watch."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.multi_types import Answers, Multi, MultiOutputs
from tutelage.types import Boxes, Detections, Detector, Look, Losses, Network, Outputs, Task, Tokens


class Frozen(Network):
    """A network that is read and never trained: always in eval mode, never in a graph."""

    def __init__(self, net: Network):
        super().__init__()
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.widths, self.embedding_width = net.widths, net.embedding_width

    def train(self, mode: bool = True) -> "Frozen":
        return self  # model.train() on a parent must not wake batch norm or dropout up

    def forward(self, images: Tensor, **asked: Any) -> Outputs:
        with torch.inference_mode():
            said: Outputs = cast(Any, self.net)(images, **asked)
        return _cloned(said)


def _cloned(said: Outputs) -> Outputs:
    """Autograd may save copies for the student's way back, but not what was made under inference mode."""
    features = {name: features.clone() for name, features in said.features.items()}
    return Outputs(
        said.logits.clone(),
        said.embedding.clone(),
        features,
        said.tokens and _copied(said.tokens),
        tuple(_cloned(one) for one in said.members),
    )


class FrozenDetector(Detector):
    """A detector that is read and never trained: always in eval mode, never in a graph."""

    def __init__(self, net: Detector):
        super().__init__()
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.classes, self.widths = net.classes, net.widths

    def train(self, mode: bool = True) -> "FrozenDetector":
        return self

    @torch.no_grad()
    def forward(
        self,
        images: Tensor,
        targets: Sequence[Boxes] | None = None,
        weight: Tensor | None = None,
        *,
        look: bool = False,
        parts: Sequence[int] | None = None,
        known: Tensor | None = None,
    ) -> Losses | list[Detections] | Look:
        return self.net.forward(images, targets, weight, look=look, parts=parts, known=known)

    @torch.no_grad()
    def pyramid(self, images: Tensor) -> dict[str, Tensor]:
        return self.net.pyramid(images)

    @torch.no_grad()
    def dense(self, images: Tensor) -> dict[str, Tensor]:
        return self.net.dense(images)

    @torch.no_grad()
    def roi_logits(self, images: Tensor, rois: Sequence[Tensor]) -> Tensor:
        return self.net.roi_logits(images, rois)


class FrozenMulti(Multi):
    """A network with several heads that is read and never trained: always in eval mode, never in a graph."""

    def __init__(self, net: Multi):
        super().__init__()
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.tasks, self.classes, self.widths = net.tasks, net.classes, net.widths

    def train(self, mode: bool = True) -> "FrozenMulti":
        return self

    @torch.no_grad()
    def forward(self, images: Tensor, rows: Mapping[Task, Tensor] | None = None) -> MultiOutputs:
        return self.net(images, rows)

    def answers(self, images: Tensor) -> Answers:
        return self.net.answers(images)


def _copied(tokens: Tokens) -> Tokens:
    hidden, scores, values = (tuple(x.clone() for x in part) for part in (tokens.hidden, tokens.scores, tokens.values))
    return Tokens(hidden, tokens.last.clone(), scores, values)


@torch.no_grad()
def average_into(teacher: nn.Module, student: nn.Module, *, decay: float) -> None:
    """teacher <- decay * teacher + (1 - decay) * student; integer buffers are copied."""
    pairs = list(zip(teacher.state_dict().values(), student.state_dict().values(), strict=True))
    for kind in {old.dtype for old, _ in pairs}:  # on a GPU all of a kind are one call, not hundreds
        old, new = ([pair[side] for pair in pairs if pair[0].dtype == kind] for side in (0, 1))
        if kind.is_floating_point:
            torch._foreach_lerp_(old, new, 1 - decay)
        else:
            torch._foreach_copy_(old, new)


def follow(teacher: nn.Module, student: nn.Module, step: int, *, most: float) -> None:
    """Average with a decay of at most `most`, which is less in the first steps, as Mean Teacher's: over `step` + 1."""
    average_into(teacher, student, decay=min(most, 1 - 1 / (step + 1)))
