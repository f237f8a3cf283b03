"""Which object each position, anchor or region of a batch is to find. No loop over images or boxes.

Letters in shapes: n images, k boxes of the image that has most, p positions or anchors.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tutelage.types import BadInput, Boxes

NONE, IGNORED = -1, -2  # in place of an object: background, and what is neither
_AT_ONCE = 2**24  # pairs of box and anchor that are compared in one go: 64 MB a temporary


class Targets(NamedTuple):
    """The boxes of a batch, as many an image as the fullest has; what is not `valid` is padding."""

    places: Float[Tensor, "n k 4"]
    labels: Int[Tensor, "n k"]
    weight: Float[Tensor, "n k"]  # of the class
    place_weight: Float[Tensor, "n k"]
    valid: Bool[Tensor, "n k"]
    image: Float[Tensor, " n"]  # weight of the image


class Assigned(NamedTuple):
    """What each position is to say, and how much that counts. Weights are the box's times the image's."""

    foreground: Bool[Tensor, "n p"]
    labels: Int[Tensor, "n p"]  # 0 where there is no object
    places: Float[Tensor, "n p 4"]  # the anchor itself where there is no object: finite under every formula
    weight: Float[Tensor, "n p"]  # of the class, background too; 0 where ignored
    place_weight: Float[Tensor, "n p"]  # of the place; 0 but on objects

    @property
    def counts(self) -> Bool[Tensor, "n p"]:
        """What counts at all: neither ignored nor of an image of weight 0."""
        return (self.weight > 0) | (self.place_weight > 0)

    @property
    def place_counted(self) -> Float[Tensor, "n p"]:
        """What a mean over samples divides the regression by: an object its place's weight, background its weight."""
        return torch.where(self.foreground, self.place_weight, self.weight)

    def one_hot(self, classes: int) -> Float[Tensor, "n p c"]:
        """The classes as numbers; all 0 where there is no object."""
        columns = torch.arange(classes, device=self.labels.device)
        return (self.foreground[..., None] & (self.labels[..., None] == columns)).float()

    def told(self, known: Bool[Tensor, "n c"] | None) -> Bool[Tensor, "n p c"] | None:
        """Of which classes a position says whether it is one: the `known` ones, and of an object all, for it is of one
        alone. So classes are told apart that were never marked in one image. None: all, everywhere."""
        return None if known is None else known[:, None] | self.foreground[..., None]

    def background_by(self, known: Bool[Tensor, "n c"] | None) -> "Assigned":
        """Background weighs the share of the classes that were looked for.

        Where any object is one class, it may be one of the others. It keeps some weight: sets that were each marked
        for their own classes have no image without such doubt, and objects alone teach that all is one.
        """
        if known is None:
            return self
        return self._replace(weight=torch.where(self.foreground, 1.0, known.float().mean(1)[:, None]) * self.weight)


def padded(
    boxes: Sequence[Boxes], weight: Float[Tensor, " n"] | None, device: torch.device, *, classes: int
) -> Targets:
    """A batch's boxes in tensors. A box without area (a view cut it away) is no object.

    Raises BadInput for a label that is none of `classes` classes, or a weight below 0; on a GPU, which is not waited
    for, its box weighs NaN and so does every mean that it is in.
    """
    check_boxes(boxes, classes)

    def column(values: list[Tensor]) -> Tensor:
        filled = pad_sequence(values, batch_first=True).to(device)
        return filled if filled.shape[1] else filled.new_zeros(len(values), 1, *filled.shape[2:])

    places, labels, of_class, of_place = (column(list(values)) for values in zip(*boxes, strict=True))
    known = (labels >= 0) & (labels < classes)
    labels, of_class = torch.where(known, labels, 0), torch.where(known & (of_class >= 0), of_class, torch.nan)
    of_place = torch.where(of_place >= 0, of_place, torch.nan)
    valid = (places[..., 2:] > places[..., :2]).all(-1)  # padding is zeros: it has no area
    image = torch.ones(len(boxes), device=device) if weight is None else weight.to(device).float()
    image = torch.where(image >= 0, image, torch.nan)
    return Targets(places.float(), labels.long(), of_class.float(), of_place.float(), valid, image)


def check_asked(
    images: Tensor, targets: Sequence[Boxes] | None, weight: Tensor | None, parts: Sequence[int] | None,
    known: Tensor | None = None,
) -> None:  # fmt: skip
    """BadInput for what a detector's forward is not made for: each is known without waiting for a GPU."""
    number = images.shape[0]
    if not images.is_floating_point() or not number:
        raise BadInput(
            f"a detector is asked about {number} images of {images.dtype}: hand in one or more, of floats in 0..1"
        )
    counts = {
        "targets": number if targets is None else len(targets),
        "weight": number if weight is None else len(weight),
        "parts": number if parts is None else sum(parts),
        "known": number if known is None else len(known),
    }
    for name, count in counts.items():
        if count != number:
            raise BadInput(f"`{name}` is of {count} images, and there are {number}: each has its own")
    if weight is not None:
        _check_weight("`weight`", weight)


def _check_weight(whose: str, weight: Tensor) -> None:
    """BadInput for trust below 0, which would teach the opposite. Not asked of a GPU."""
    if weight.device.type == "cpu" and (weight < 0).any():
        raise BadInput(
            f"{whose} holds {weight.min().item():g}: trust is 0 or more. Of what nobody is sure of, write 0 or leave "
            "the box out"
        )


def check_boxes(boxes: Sequence[Boxes], classes: int) -> None:
    """BadInput for labels that are no whole numbers, or none of `classes` classes, and for weights below 0.

    So too for places that are not x1 y1 x2 y2, such as COCO's x y width height often are not. Which numbers they are
    only of those on the CPU: on a GPU each look would wait for all that was asked of it before.
    """
    for place, each in enumerate(boxes):
        if each.labels.is_floating_point() or each.labels.dtype == torch.bool:
            raise BadInput(f"image {place} has labels of {each.labels.dtype}: a label is the number of a class, int64")
        if each.labels.device.type != "cpu" or not each.labels.numel():
            continue
        for name in ("weight", "place_weight"):
            _check_weight(f"{name} of image {place}", getattr(each, name))
        wrong = ~(each.places[:, 2:] >= each.places[:, :2]).all(1)
        if wrong.any():
            raise BadInput(
                f"image {place} has a box at {each.places[wrong][0].tolist()}, which is not x1 y1 x2 y2 with x1 <= x2 "
                "and y1 <= y2. Of COCO's x y width height, add x to the width and y to the height"
            )
        for found in (int(each.labels.min()), int(each.labels.max())):
            if not 0 <= found < classes:
                raise BadInput(
                    f"image {place} has a box of label {found}, but {classes} classes are 0 to {classes - 1}. "
                    "COCO's ids start at 1: subtract 1"
                )


def assigned(targets: Targets, match: Int[Tensor, "n p"], anchors: Float[Tensor, "*_n p 4"]) -> Assigned:
    """What follows from a match: for each anchor the place of its box in `targets`, NONE or IGNORED.

    A box of weight 0 is not known to be there: the anchors matched to it are neither object nor background. So too, in
    every match, are those that lie in one whose place weighs 0 as well, as in a crowd, and are of no other box.
    """
    foreground, index = match >= 0, match.clamp(min=0)
    places = targets.places.gather(1, index[..., None].expand(-1, -1, 4))
    image = targets.image[:, None]
    of_class = torch.where(foreground, targets.weight.gather(1, index), (match == NONE).float())
    of_place = torch.where(foreground, targets.place_weight.gather(1, index), 0.0)
    return Assigned(
        foreground, targets.labels.gather(1, index) * foreground,
        torch.where(foreground[..., None], places, anchors), image * of_class, image * of_place,
    )  # fmt: skip


def by_scale(targets: Targets, squares: Float[Tensor, "p 4"], levels: Sequence[int], *, radius: float) -> Tensor:
    """FCOS: the smallest of the boxes that a position lies in, near the middle of, and at the scale of. [n p]

    Tian et al. ICCV 2019, sec. 3.1-3.2, https://arxiv.org/abs/1904.01355, with the centre sampling of its later
    version: nearer to a box's centre than `radius` strides along both axes. A level of stride s takes boxes whose
    farthest side is between 4 s and 8 s away; the finest also smaller ones, the coarsest larger ones.
    `squares` as of box_coding.positions, `levels` the number of them in each level.
    """
    x, y = ((squares[:, :2] + squares[:, 2:]) / 2).unbind(-1)
    stride = squares[:, 2] - squares[:, 0]
    low, high = 4 * stride, 8 * stride
    low[: levels[0]], high[len(high) - levels[-1] :] = 0, torch.inf

    def match(part: Targets, _: Tensor) -> Tensor:
        x1, y1, x2, y2 = part.places[..., None].unbind(-2)  # [n k 1]
        near = torch.maximum((x - (x1 + x2) / 2).abs(), (y - (y1 + y2) / 2).abs()) < radius * stride
        inside = torch.minimum(torch.minimum(x - x1, y - y1), torch.minimum(x2 - x, y2 - y)) > 0
        far = torch.maximum(torch.maximum(x - x1, y - y1), torch.maximum(x2 - x, y2 - y))
        fits = near & inside & (far > low) & (far < high) & part.valid[..., None]
        smallest, index = torch.where(fits, (x2 - x1) * (y2 - y1), torch.inf).min(dim=1)
        doubted = (inside & _not_believed(part)).any(1)
        return torch.where(smallest.isinf(), torch.where(doubted, IGNORED, NONE), index)

    return _by_images(match, targets, squares)


def by_overlap(
    targets: Targets, anchors: Float[Tensor, "*_n p 4"], *, high: float, low: float, each: bool
) -> Int[Tensor, "n p"]:
    """Of the boxes the one with most IoU where that is at least `high`; below `low` none, between them ignored.

    Ren et al. NeurIPS 2015, sec. 3.1.2. With `each`, the anchors that overlap a box more than all others do are
    matched too, however little it is, each to the box that it overlaps most. An anchor of none is ignored where it lies
    by half or more in a box of no weight at all.
    """

    def match(part: Targets, anchors: Tensor) -> Tensor:
        iou = overlaps(part.places, anchors)
        iou = torch.where(part.valid[..., None], iou, -1.0)
        most, best = iou.max(dim=1)
        found = torch.where(most >= high, best, torch.where(most < low, NONE, IGNORED))
        if each:
            top = iou.amax(dim=2, keepdim=True)  # a box that overlaps nothing claims nothing
            found = torch.where(((iou == top) & (top > 0)).any(1), best, found)
        doubted = (half_inside(anchors, part.places) & _not_believed(part)).any(1)
        return torch.where((found == NONE) & doubted, IGNORED, found)

    return _by_images(match, targets, anchors)


def overlaps(places: Float[Tensor, "n k 4"], anchors: Float[Tensor, "*_n p 4"]) -> Float[Tensor, "n k p"]:
    """Intersection over union of every pair of an image; 0 where neither has an area."""
    shared = _shared(places, anchors)
    return shared / (_area(places)[..., :, None] + _area(anchors)[..., None, :] - shared).clamp(min=1e-12)


def half_inside(anchors: Float[Tensor, "*_n p 4"], places: Float[Tensor, "*_n k 4"]) -> Bool[Tensor, "*_n k p"]:
    """Whether half of an anchor or more lies in a box, for every pair of an image."""
    return _shared(places, anchors) >= 0.5 * _area(anchors)[..., None, :]


def _shared(places: Tensor, anchors: Tensor) -> Tensor:
    a, b = places[..., :, None, :].unbind(-1), anchors[..., None, :, :].unbind(-1)
    width = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp(min=0)
    return width * (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp(min=0)


def _area(places: Tensor) -> Tensor:
    return (places[..., 2] - places[..., 0]) * (places[..., 3] - places[..., 1])


def _not_believed(part: Targets) -> Bool[Tensor, "n k 1"]:
    return (part.valid & (part.weight == 0) & (part.place_weight == 0))[..., None]


def sampled(
    found: Int[Tensor, "n p"], usable: Bool[Tensor, "n p"], *, number: int, foreground: float
) -> Bool[Tensor, "n p"]:
    """At most `number` of an image at random, at most that share of them objects, the rest background.

    Ren et al. NeurIPS 2015, sec. 3.1.3. Drawn from torch's global state, one number an anchor.
    """
    order = torch.rand(found.shape, device=found.device)
    objects, others = usable & (found >= 0), usable & (found == NONE)
    most = objects.sum(1, keepdim=True).clamp(max=int(number * foreground))
    return (objects & (_rank(order, objects) < most)) | (others & (_rank(order, others) < number - most))


def _rank(order: Tensor, among: Tensor) -> Tensor:
    """Place of each in the order of those that are `among`."""
    ranks: Tensor = torch.where(among, order, 2.0).argsort(dim=1).argsort(dim=1)
    return ranks


def _by_images(match: Callable[[Targets, Tensor], Tensor], targets: Targets, anchors: Tensor) -> Tensor:
    """Of a crowd at full size not all images at once: pairs of box and anchor are what memory goes to."""
    images, most = targets.labels.shape
    anchors = anchors.expand(images, -1, -1)
    step = max(1, _AT_ONCE // max(1, anchors.shape[1] * most))
    parts = [slice(start, start + step) for start in range(0, images, step)]
    return torch.cat([match(Targets(*(value[part] for value in targets)), anchors[part]) for part in parts])
