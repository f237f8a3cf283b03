"""What every method of detection is, and what they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.methods.method import Clock, Verbs
from tutelage.types import Boxes, Detector, DetectorNets, Look, Losses, SceneBatch, Scenes


@dataclass(frozen=True, kw_only=True)
class DetectionMethod(Verbs[Detector, DetectorNets, SceneBatch]):
    """How a detector learns. Losses keep the names that the detector gives them; on the pool "pool_" is before them."""

    trains = Detector
    sees = SceneBatch

    @property
    def unread(self) -> frozenset[str]:
        """Views that `loss` does not look at, of "labeled.weak", "labeled.strong", "pool.weak": they are not made."""
        return frozenset()


class Part(NamedTuple):
    """Images whose losses are averaged among themselves. There may be none."""

    images: Float[Tensor, "n 3 s s"]
    boxes: Sequence[Boxes]
    weight: Float[Tensor, " n"]  # what each image counts in the mean
    known: Bool[Tensor, "n c"] | None = None  # the classes that were looked for; None: all, as a teacher does


def given(images: Float[Tensor, "n 3 s s"], boxes: Sequence[Boxes], known: Bool[Tensor, "n c"] | None = None) -> Part:
    """Images of which each counts 1."""
    return Part(images, boxes, torch.ones(len(images), device=images.device), known)


def both_views(labeled: Scenes) -> Part:
    """Labelled images twice, weak and strong."""
    boxes = (*labeled.weak_boxes, *labeled.strong_boxes)
    return given(torch.cat([labeled.weak, labeled.strong]), boxes, labeled.known.repeat(2, 1))


def learn(student: Detector, *parts: Part) -> list[Losses]:
    """The losses of each part, from one pass over all images.

    One pass, so that batch norm sees them together and several processes wait for each other once. The first part has
    images.
    """
    images, boxes, weight, sizes, known = _joined(parts)
    return _parted(student(images, boxes, weight, parts=sizes, known=known), len(parts))


def blended(weak: Losses, strong: Losses, share: float) -> Losses:
    """The mean of each term over two views, `share` of it the strong one's."""
    return {name: (1 - share) * weak[name] + share * strong[name] for name in weak}


def learn_and_look(student: Detector, *parts: Part) -> tuple[list[Losses], Look]:
    """As `learn`, with all that the student said of all images."""
    images, boxes, weight, sizes, known = _joined(parts)
    seen = student(images, boxes, weight, look=True, parts=sizes, known=known)
    return _parted(seen.losses, len(parts)), seen


def of_the_pool(losses: Losses, weight: float) -> Losses:
    """Losses by the names that those on the pool have, weighted."""
    return {f"pool_{name}": weight * value for name, value in losses.items()}


def before(clock: Clock, share: float) -> bool:
    """Whether the run is in its first `share`. Waits for the device, as does every teacher that answers with boxes."""
    return bool(clock.step < share * clock.steps)


def _joined(parts: Sequence[Part]) -> tuple[Tensor, list[Boxes], Tensor, list[int], Tensor | None]:
    images, weight = torch.cat([part.images for part in parts]), torch.cat([part.weight for part in parts])
    sizes = [len(part.images) for part in parts]
    return images, [one for part in parts for one in part.boxes], weight, sizes, _known(parts, sizes)


def _known(parts: Sequence[Part], sizes: list[int]) -> Tensor | None:
    some = next((part.known for part in parts if part.known is not None), None)
    if some is None:
        return None
    each = zip(parts, sizes, strict=True)
    return torch.cat([some.new_ones(size, some.shape[1]) if p.known is None else p.known for p, size in each])


def _parted(losses: Losses, parts: int) -> list[Losses]:
    split: list[Losses] = [{} for _ in range(parts)]
    for name, value in losses.items():
        number, own = name.split(".", 1)
        split[int(number)][own] = value
    return split
