"""From what heads say at many positions to the few boxes that are answered."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import batched_nms

from tutelage.types import Detections

_AT_ONCE = 2**25  # pairs of boxes that are compared in one go on a GPU: 128 MB a temporary
_ROUNDS = 8


class Flat(NamedTuple):
    """Boxes of a batch one after another."""

    image: Int[Tensor, " m"]
    places: Float[Tensor, "m 4"]
    labels: Int[Tensor, " m"]
    scores: Float[Tensor, " m"]

    def at(self, index: Tensor) -> "Flat":
        """Those that a mask or places choose."""
        return Flat(*(value[index] for value in self))

    def of(self, images: slice) -> "Flat":
        """Those of some images in a row, which are counted from the first of them."""
        if images.start is None:
            return self
        own = self.at((self.image >= images.start) & (self.image < images.stop))
        return own._replace(image=own.image - images.start)


def candidates(
    scores: Float[Tensor, "n p c"], levels: Sequence[int], *, floor: float, most: int
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Image, position and class of what scores above `floor` and among the `most` best of its level and image."""
    classes, start, best = scores.shape[-1], 0, []
    for level in scores.split(list(levels), dim=1):
        flat = level.flatten(1)
        top = flat.topk(min(most, flat.shape[1]), dim=1)
        best.append((top.values, top.indices + start))
        start += flat.shape[1]
    values, places = (torch.cat(column, dim=1) for column in zip(*best, strict=True))
    image, column = (values > floor).nonzero(as_tuple=True)
    place = places[image, column]
    return image, place.div(classes, rounding_mode="floor"), place % classes


def best_of_each(boxes: Flat, *, images: int, kinds: int, overlap: float, most: int) -> Flat:
    """At most `most` boxes an image, image by image, surest first: of two of one label that overlap more, the surer.

    Labels are below `kinds`. Suppression is greedy, by torchvision.
    """
    boxes = boxes.at(boxes.image.argsort(stable=True))
    if boxes.image.is_cuda:
        with torch.autocast("cuda", enabled=False):
            kept = boxes.at(at_once(boxes, images, kinds, overlap))
        return kept.at(_rank(kept.image, images) < most)
    # torchvision holds groups apart by offsets, which in 24 bits would leave the last group no digits behind the point.
    exact = boxes._replace(places=boxes.places.double(), scores=boxes.scores.double())
    with torch.autocast(boxes.image.device.type, enabled=False):
        kept = boxes.at(_one_by_one(exact, images, overlap))
    return kept.at(_rank(kept.image, images) < most)


def _one_by_one(boxes: Flat, images: int, overlap: float) -> Int[Tensor, " k"]:
    """Which boxes stay, image by image, surest first. They are sorted by image."""
    counts = torch.bincount(boxes.image, minlength=images)  # a processor would compare the boxes of all images
    parts = zip(*(column.split(counts.tolist()) for column in boxes[1:]), strict=True)
    each = [batched_nms(places, scores, labels, overlap) for places, labels, scores in parts]
    return torch.cat([kept + start for kept, start in zip(each, counts.cumsum(0) - counts, strict=True)])


def at_once(boxes: Flat, images: int, kinds: int, overlap: float) -> Int[Tensor, " k"]:
    """The same on a GPU, which torchvision makes wait for one box after another.

    A box stays if no surer one that stays overlaps it more. From "all stay" on that is asked of all boxes together: the
    surest of a group is right after one round, each that hangs on n others one after another after n + 1. Boxes of
    different groups, an image and a label each, never meet.
    """
    if not len(boxes.image):
        return boxes.image
    order = boxes.scores.argsort(descending=True, stable=True)
    group = boxes.image * kinds + boxes.labels
    order = order[group[order].argsort(stable=True)]
    places, real = packed(boxes.places[order].float(), group[order], images * kinds)
    step = max(1, _AT_ONCE // places.shape[1] ** 2)
    stay = torch.cat([_stay(part, overlap) for part in places.split(step)])
    kept = order[stay[real]].sort().values  # of equally sure ones the first comes first
    kept = kept[boxes.scores[kept].argsort(descending=True, stable=True)]
    return kept[boxes.image[kept].argsort(stable=True)]


def _stay(places: Float[Tensor, "g m 4"], overlap: float) -> Bool[Tensor, "g m"]:
    """Of groups of boxes, surest first, those that stay."""
    one, other = places[:, :, None], places[:, None]
    low, high = one[..., :2].maximum(other[..., :2]), one[..., 2:].minimum(other[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (places[..., 2:] - places[..., :2]).prod(-1)
    both = area[:, :, None] + area[:, None, :] - shared
    beats = (shared > overlap * both).triu(diagonal=1).half()  # [g, surer, other]
    stay = torch.ones_like(area, dtype=torch.half)
    while True:
        before = stay
        for _ in range(_ROUNDS):  # asking whether anything has changed waits for the GPU
            stay = (torch.bmm(stay[:, None], beats)[:, 0] == 0).half()
        if torch.equal(stay, before):
            return stay.bool()


def packed(values: Float[Tensor, "m _"], image: Int[Tensor, " m"], images: int) -> tuple[Tensor, Tensor]:
    """Rows sorted by image as [n, most, _], zeros behind, and which of these are rows [n, most]."""
    counts = torch.bincount(image, minlength=images)
    most = int(counts.max())
    filled = values.new_zeros(images, most, values.shape[1])
    filled[image, _rank(image, images)] = values
    return filled, torch.arange(most, device=image.device) < counts[:, None]


def by_image(boxes: Flat, images: int) -> list[Detections]:
    """What was found in each image; `boxes` are sorted by image, surest first."""
    counts = torch.bincount(boxes.image, minlength=images).tolist()
    columns = (value.split(counts) for value in (boxes.places, boxes.labels, boxes.scores))
    return [Detections(*found) for found in zip(*columns, strict=True)]


def _rank(image: Tensor, images: int) -> Tensor:
    """Place of each row among those of its image, where rows are sorted by image."""
    counts = torch.bincount(image, minlength=images)
    starts = counts.cumsum(0) - counts
    ranks: Tensor = torch.arange(len(image), device=image.device) - starts[image]
    return ranks


def inside(places: Float[Tensor, "*n 4"], size: tuple[int, int]) -> Float[Tensor, "*n 4"]:
    """Boxes cut at the edges of images of `size` (height, width)."""
    height, width = size
    return places.clamp(min=0).minimum(places.new_tensor([width, height, width, height]))
