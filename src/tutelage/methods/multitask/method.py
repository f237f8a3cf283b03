"""What every method of several tasks is, and what they share: what is lost on each task, where it is annotated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.dense import multilabel_cross_entropy, pixel_cross_entropy, trusted_mean
from tutelage.losses.depth import affine_invariant, log_difference, silog, without_worst
from tutelage.methods.method import Verbs
from tutelage.multi_types import (
    DenseObjects,
    Depths,
    Multi,
    MultiBatch,
    MultiNets,
    MultiOutputs,
    Objects,
    Present,
    Segments,
)
from tutelage.types import TASKS, Task

T = TypeVar("T", Present, Objects, Segments, Depths)
DepthLoss = Literal["log", "silog", "affine"]


@dataclass(frozen=True, kw_only=True)
class MultiMethod(Verbs[Multi, MultiNets, MultiBatch]):
    """How a network with a head a task learns. Losses have the names of tasks; on the pool "pool_" is before them.

    A task of which a batch says nothing is no part of the graph. Its head then has no gradient at all, not one of
    zero, and optimizers leave it alone: neither momentum nor weight decay moves it.
    """

    trains = Multi
    sees = MultiBatch


class Lost(NamedTuple):
    """What a task costs on the images that people annotated and on those of the pool; None where there are none."""

    labeled: Float[Tensor, ""] | None
    pool: Float[Tensor, ""] | None

    def total(self, unsupervised: float) -> Float[Tensor, ""]:
        """Both, the pool times a factor. One of them is not None."""
        return torch.stack([
            factor * loss for factor, loss in ((1.0, self.labeled), (unsupervised, self.pool)) if loss is not None
        ]).sum()  # fmt: skip


def asked(batch: MultiBatch) -> tuple[Float[Tensor, "n 3 h w"], dict[Task, Tensor]]:
    """All images, people's before the pool's, and which of them each head is to look at."""
    first = len(batch.labeled.images)
    rows = {
        task: torch.cat([getattr(batch.labeled.truth, task).rows, getattr(batch.pool.truth, task).rows + first])
        for task in TASKS
    }
    return torch.cat([batch.labeled.images, batch.pool.images]), rows


def lost(outputs: MultiOutputs, batch: MultiBatch, *, depth: DepthLoss, drop: float) -> dict[Task, Lost]:
    """The loss of each task that a head answered for. `drop`: of each image of the pool, the share of the pixels whose
    depth is believed least."""
    people, teachers = batch.labeled.truth, batch.pool.truth
    present, objects, segments, far = (getattr(outputs, task) for task in TASKS)

    def of_depth(own: slice, truth: Depths) -> Float[Tensor, ""]:
        return depth_loss(far[own], truth, kind=depth, drop=drop if truth is teachers.depth else 0.0)

    told = {
        "classification": present is not None and _parts(
            people.classification, teachers.classification, lambda own, truth: _seen(present[own], truth)
        ),
        "detection": objects is not None and _parts(
            people.detection, teachers.detection, lambda own, truth: _found(objects, own, truth)
        ),
        "segmentation": segments is not None and _parts(
            people.segmentation, teachers.segmentation, lambda own, truth: _named(segments[own], truth)
        ),
        "depth": far is not None and _parts(people.depth, teachers.depth, of_depth),
    }  # fmt: skip
    return {task: each for task in TASKS if (each := told[task])}


def depth_loss(
    log_depth: Float[Tensor, "m h w"], truth: Depths, *, kind: DepthLoss, drop: float = 0.0
) -> Float[Tensor, ""]:
    """ "log": |ln x - ln y|. "silog": of Eigen et al. "affine": of 1 / x against 1 / y, as MiDaS, whatever their scale
    and shift. `drop` leaves out that share of each image's pixels, those that are farthest off."""
    weight = truth.weight * (truth.target > 0)
    if kind == "affine":
        inverse = torch.where(weight > 0, 1 / truth.target.clamp_min(1e-3), 0)
        each = affine_invariant((-log_depth).exp(), inverse, weight)
    else:
        each = log_difference(log_depth, truth.target).abs()
    if drop:
        weight = without_worst(each, weight, share=drop)
    return silog(log_depth, truth.target, weight) if kind == "silog" else trusted_mean(each, weight)


def _seen(logits: Float[Tensor, "m c"], truth: Present) -> Float[Tensor, ""]:
    return multilabel_cross_entropy(logits, truth.target, truth.weight)


def _named(logits: Float[Tensor, "m d h w"], truth: Segments) -> Float[Tensor, ""]:
    return trusted_mean(pixel_cross_entropy(logits, truth.target, truth.known), truth.weight * (truth.target >= 0))


def _found(dense: DenseObjects, own: slice, truth: Objects) -> Float[Tensor, ""]:
    from tutelage.models.fcos import fcos_losses  # with torchvision, which takes seconds and most stages do without

    said = {name: value[own] for name, value in dense.said.items()}
    terms = fcos_losses(dense._replace(said=said), truth.boxes, truth.weight, truth.known)
    return torch.stack(list(terms.values())).sum()


def _parts(people: T, teachers: T, loss: Callable[[slice, T], Float[Tensor, ""]]) -> Lost:
    """`loss` is asked for a slice of what the head said. People's images come first."""
    first = len(people.rows)
    return Lost(
        loss(slice(first), people) if first else None,
        loss(slice(first, None), teachers) if len(teachers.rows) else None,
    )
