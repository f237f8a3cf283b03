"""What methods share in which a given teacher teaches a smaller student a number: the depth of every pixel, ln of it.

Sample i is an image, its numbers are its pixels; where the sensor was blind nothing is learned. An image in which it
was blind everywhere is left out of every mean. Labelled images alone are learned from: most of these methods ask how
far the teacher is from the label.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.losses.regression import imitation_trust
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import BadInput

Maps = dict[str, Float[Tensor, "n _ _ _"]]


class Compared(NamedTuple):
    """What is known of the depth of m images of p pixels."""

    student: Float[Tensor, "m p"]
    teacher: Float[Tensor, "m p"]
    labels: Float[Tensor, "m p"]
    weight: Float[Tensor, "m p"]
    seen: Float[Tensor, " m"]  # 1 where an image has a label anywhere
    rows: Int[Tensor, " m"]  # their places among the n images of the batch
    pyramids: tuple[Maps, Maps]  # of student and teacher, of all n


def compared(nets: MultiNets, batch: MultiBatch) -> Compared:
    """Both networks on the labelled images, one pass each, and the labels of those where depth was measured."""
    images, truth = batch.labeled.images, batch.labeled.truth.depth
    every = torch.arange(len(images), device=images.device)
    student, teacher = nets.student(images), nets.teacher(images, {"depth": every})
    assert student.depth is not None
    assert teacher.depth is not None
    known = truth.target > 0
    weight = (truth.weight * known).flatten(1)
    return Compared(
        student.depth[truth.rows].flatten(1),
        teacher.depth[truth.rows].flatten(1),
        torch.where(known, truth.target, 1).log().flatten(1),
        weight,
        (weight > 0).any(1).to(weight.dtype),
        truth.rows,
        (student.pyramid, teacher.pyramid),
    )


def check_depth(student: Multi, teacher: Multi) -> None:
    """Raises BadInput where the student does anything but depth, or the teacher does no depth."""
    if student.tasks != ("depth",) or "depth" not in teacher.tasks:
        raise BadInput(
            f"the student answers {', '.join(student.tasks)}, its teacher {', '.join(teacher.tasks)}: methods of "
            "regression teach depth alone. Give the student tasks: [depth], and a teacher that has learned depth"
        )


class Extremes(nn.Module):
    """The smallest and the largest error of a teacher that were met so far.

    Saputra et al. take those over the whole training set; after one epoch these are the same, up to views.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(torch.inf))
        self.register_buffer("high", torch.tensor(-torch.inf))

    def forward(self, error: Float[Tensor, " m"], seen: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Take the errors of a batch in; what the teacher is worth to be imitated, Phi, of each image."""
        met = torch.cat([torch.where(seen > 0, error, torch.inf), self.low[None]])
        self.low.copy_(met.min())
        met = torch.cat([torch.where(seen > 0, error, -torch.inf), self.high[None]])
        self.high.copy_(met.max())
        return imitation_trust(error, self.low, self.high) * seen
