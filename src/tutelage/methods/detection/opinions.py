"""What a teacher says of the weak view of the pool, as boxes for the strong one."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.box_moves import inverse, move_boxes, moved
from tutelage.data.warping import warped
from tutelage.losses.soft_boxes import as_boxes, confident, matched
from tutelage.metrics.box_trust import jitter_variance
from tutelage.types import Boxes, Detections, Detector, PoolScenes

PlaceTrust = Literal["none", "jitter", "certainty"]
JITTER = 0.06  # Soft Teacher, sec. 3.3: boxes are jittered by 6 %
Choice = Callable[[Sequence[Detections]], list[Detections]]  # of what is found in each image


def to_strong(boxes: Sequence[Boxes], pool: PoolScenes) -> tuple[Boxes, ...]:
    """Boxes of the weak views, moved to the strong ones. What these show too little of is not believed."""
    views = zip(boxes, pool.move, pool.clear, strict=True)
    return tuple(move_boxes(*each, visible=pool.visible) for each in views)


def opinions(teacher: Detector, images: Float[Tensor, "n 3 s s"], choose: Choice) -> list[Detections]:
    """Those of its detections that are chosen. Of no images it is not asked."""
    return choose(teacher(images) if len(images) else [])


def all_confident(found: Sequence[Detections], threshold: Float[Tensor, "*_"]) -> list[Detections]:
    """`confident` of each image."""
    return [confident(each, threshold) for each in found]


def untrusted(found: Sequence[Detections]) -> list[Boxes]:
    """Detections whose classes alone are believed. Liu et al., Unbiased Teacher, ICLR 2021."""
    return [as_boxes(each, torch.zeros_like(each.scores)) for each in found]


def steady(
    teacher: Detector, images: Float[Tensor, "n 3 s s"], choose: Choice, *, copies: int, scatter: float
) -> list[Boxes]:
    """Detections whose places are believed where they scatter less than `scatter` when the image is moved a little.

    Soft Teacher moves boxes and has the second stage correct them; an image that is scaled and shifted by up to 6 %
    asks the same of a detector without one. What is not found again in every copy is not believed. The teacher is
    called once, on the images and their copies. Xu et al. ICCV 2021, sec. 3.3. https://arxiv.org/abs/2106.09018
    """
    if not len(images):
        return []
    number, size = len(images), images.shape[-1]
    moves = [_jitter(number, size).to(images.device) for _ in range(copies)]
    found = teacher(torch.cat([images, *(warped(images, move) for move in moves)]))
    first = choose(found[:number])
    boxes = []
    for place, each in enumerate(first):
        again = [
            matched(each, _moved_back(found[(copy + 1) * number + place], move[place], size))
            for copy, move in enumerate(moves)
        ]
        everywhere = torch.stack([score > 0 for _, score in again]).all(0)
        calm = jitter_variance(each.places, torch.stack([each.places, *(there for there, _ in again)], dim=1)) < scatter
        boxes.append(as_boxes(each, (calm & everywhere).to(each.scores.dtype)))
    return boxes


def surer(
    teacher: Detector, student: Detector, images: Float[Tensor, "n 3 s s"], choose: Choice, *, margin: float
) -> list[Boxes]:
    """Detections whose places are believed where the teacher is surer of them than the student is, by `margin`.

    Liu et al., Unbiased Teacher v2, CVPR 2022, compare the spread that both predict for a side; detectors that predict
    none are compared by their scores. https://arxiv.org/abs/2206.09500
    """
    chosen, training = opinions(teacher, images, choose), student.training
    student.eval()  # as its teacher is: by a batch's statistics it would be another detector
    with torch.no_grad():
        own = student(images) if len(images) else []
    student.train(training)
    return [
        as_boxes(one, (one.scores - matched(one, other)[1] >= margin).to(one.scores.dtype))
        for one, other in zip(chosen, own, strict=True)
    ]


def _jitter(number: int, size: int) -> Float[Tensor, "n 2 3"]:
    """Scaled about the middle and shifted by up to 6 %. Drawn from torch's state on the CPU, which checkpoints hold."""
    scale, *shift = 2 * JITTER * (torch.rand(3, number) - 0.5)
    move = torch.zeros(number, 2, 3)
    move[:, 0, 0] = move[:, 1, 1] = 1 + scale
    move[:, :, 2] = size * (torch.stack(shift, dim=-1) - scale[:, None] / 2)
    return move


def _moved_back(found: Detections, move: Float[Tensor, "2 3"], size: int) -> Detections:
    places, _ = moved(found.places, inverse(move).to(found.places.dtype), size)
    return found._replace(places=places)
