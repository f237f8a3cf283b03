"""What methods of adaptation share that learn to name the pixels of a target without labels."""

from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage.data.patches import half_of_the_classes, pasted
from tutelage.losses.uncertainty import sure_share
from tutelage.methods.multitask.method import lost
from tutelage.multi_types import Annotated, Multi, MultiBatch, Truth
from tutelage.types import IGNORE, TASKS, BadInput, Losses


class Pixels(NamedTuple):
    """Images of the target, and what is believed of each pixel."""

    images: Float[Tensor, "n 3 h w"]
    target: Int[Tensor, "n h w"]  # IGNORE, 0 background, else the class + 1
    weight: Float[Tensor, "n h w"]  # trust
    own: Bool[Tensor, "n h w"]  # of the image, not from beyond its edge

    def none(self) -> "Pixels":
        """Without any image."""
        return Pixels(*(part[:0] for part in self))


def unnamed(pool: Annotated) -> Pixels:
    """Nothing is believed. Pixels are the image's unless `pool` says of them, with weight 0, that they are not."""
    n, _, height, width = pool.images.shape
    own = torch.ones(n, height, width, dtype=torch.bool, device=pool.images.device)
    own[pool.truth.segmentation.rows] = pool.truth.segmentation.weight > 0
    return Pixels(pool.images, torch.full_like(own, IGNORE, dtype=torch.int64), torch.zeros_like(own).float(), own)


def pseudo_named(teacher: Multi, pool: Annotated, *, confidence: float) -> Pixels:
    """The teacher's likeliest class of every pixel, which counts as much as the share of the image's pixels that the
    teacher is sure of. Hoyer et al., MIC, CVPR 2023, eq. 7; Tranheden et al., DACS, WACV 2021, sec. 3."""
    known = unnamed(pool)
    if not len(pool.images):
        return known
    said = teacher(pool.images, {"segmentation": torch.arange(len(pool.images), device=pool.images.device)})
    assert said.segmentation is not None
    sure = sure_share(said.segmentation, confidence=confidence)
    return known._replace(target=said.segmentation.argmax(1), weight=sure[:, None, None] * known.own)


def class_mixed(source: Annotated, target: Pixels) -> Pixels:
    """The pixels of half of the classes of a labelled image over an image of the target, with their labels.

    Target image i gets those of labelled image i mod n. Tranheden et al., DACS, WACV 2021, alg. 1.
    https://arxiv.org/abs/2007.08702
    """
    given = source.truth.segmentation
    if not len(given.rows):
        return target
    turn = torch.arange(len(target.images), device=given.rows.device) % len(given.rows)
    labels, trust = given.target[turn], given.weight[turn]
    over = half_of_the_classes(labels, ignored=IGNORE) & (trust > 0)
    return Pixels(
        pasted(over, source.images[given.rows[turn]], target.images),
        torch.where(over, labels, target.target),
        torch.where(over, trust, target.weight),
        target.own | over,
    )


def both_domains(
    student: Multi, source: Annotated, images: Float[Tensor, "m 3 h w"]
) -> tuple[Losses, Float[Tensor, "m d h w"]]:
    """What is lost on each task of the source, and logits for the pixels of `images`, which no other head looks at.

    One forward, so batch norm is over all. Raises BadInput for a network that names no pixels.
    """
    if "segmentation" not in student.tasks:
        raise BadInput(f"the network has heads for {', '.join(student.tasks)}: adaptation of pixels needs segmentation")
    first = len(source.images)
    rows = {task: getattr(source.truth, task).rows for task in TASKS}
    rest = torch.arange(first, first + len(images), device=images.device)
    rows["segmentation"] = torch.cat([rows["segmentation"], rest])
    outputs = student(torch.cat([source.images, images]), rows)
    each = lost(outputs, MultiBatch(source, source._replace(truth=_nothing_of(source.truth))), depth="log", drop=0.0)
    # Where nobody said anything there is still something to differentiate.
    nothing = torch.stack([m.sum() for m in outputs.pyramid.values()]).sum().float() * 0
    terms = {task: each[task].labeled if task in each else None for task in student.tasks}
    empty = images.new_zeros(0, student.classes + 1, *images.shape[2:])
    logits = empty if outputs.segmentation is None else outputs.segmentation[len(source.truth.segmentation.rows) :]
    return {task: nothing if term is None else term for task, term in terms.items()}, logits


def _nothing_of(truth: Truth) -> Truth:
    """Of the same form, and of no image."""
    parts: list[Any] = [type(part)(*(values[:0] for values in cast(Any, part))) for part in truth]
    return Truth(*parts)
