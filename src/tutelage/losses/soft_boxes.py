"""What a teacher's boxes are worth, and how soft answers of detectors are compared."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.types import Boxes, Detections


def confident(found: Detections, threshold: Float[Tensor, "*_"] | float) -> Detections:
    """Detections whose score is at least `threshold`: one number, or one a class."""
    wanted = threshold[found.labels] if isinstance(threshold, Tensor) and threshold.ndim else threshold
    keep = found.scores >= wanted
    return Detections(*(field[keep] for field in found))


def at_least_one(found: Detections, threshold: float) -> Detections:
    """Detections of at least the threshold or, in an image without any, the surest: min(tau, top score of the image).

    Sohn et al., STAC, 2020, in their code. https://arxiv.org/abs/2005.04757
    """
    top = found.scores.max() if len(found.scores) else found.scores.new_zeros(())
    return confident(found, top.clamp(max=threshold))


def as_boxes(found: Detections, place_weight: Float[Tensor, " k"]) -> Boxes:
    """What a teacher found, to be learned: its classes with weight 1, its places as far as they are trusted."""
    return Boxes(found.places, found.labels, torch.ones_like(found.scores), place_weight)


def matched(boxes: Detections, found: Detections) -> tuple[Float[Tensor, "k 4"], Float[Tensor, " k"]]:
    """For each box the place and the score of the detection of its class that overlaps it most, by an IoU over 0.5.

    Where there is none the place is the box's own and the score 0.
    """
    from torchvision.ops import box_iou  # seconds to import, which stages without detectors save

    if not len(boxes.labels) or not len(found.labels):
        return boxes.places, torch.zeros_like(boxes.scores)
    same = boxes.labels[:, None] == found.labels[None]
    overlap, best = (box_iou(boxes.places, found.places) * same).max(1)
    right = overlap > 0.5
    return torch.where(right[:, None], found.places[best], boxes.places), found.scores[best] * right


def dense_consistency(student: Float[Tensor, "n p c"], teacher: Float[Tensor, "n p c"]) -> Float[Tensor, ""]:
    """Squared distance of class probabilities, by sigmoids of logits, summed over all positions and divided by the sum
    of the teacher's highest probability at each, at least 1: as many positions as it sees objects in.

    So background, which is nearly everything, does not dilute it, as in the losses of one-stage detectors.
    """
    said, wanted = student.sigmoid(), teacher.sigmoid()
    return (said - wanted).square().sum() / wanted.amax(-1).sum().clamp_min(1)


def soft_positions(
    student: Float[Tensor, "n p c"], teacher: Float[Tensor, "n p c"], trust: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Divergence of class probabilities by sigmoids, KL(teacher, student) of each class, a position weighted by the
    teacher's highest probability there and by the trust in its image; the weighted mean.

    Without the weight a loss over positions is one of background.
    """
    wanted = teacher.sigmoid()
    soft = F.binary_cross_entropy_with_logits(student, wanted, reduction="none")
    least = F.binary_cross_entropy_with_logits(teacher, wanted, reduction="none")
    weight = wanted.amax(-1) * trust[:, None]
    return ((soft - least).sum(-1) * weight).sum() / weight.sum().clamp_min(1)


def soft_regions(
    student: Float[Tensor, "r c"], teacher: Float[Tensor, "r c"], trust: Float[Tensor, " r"], *, background: float
) -> Float[Tensor, ""]:
    """-sum w_c p_t log p_s less its lowest value, the weighted mean over regions; class 0, background, weighs
    `background`, others 1.

    Chen et al., Learning efficient object detection models with knowledge distillation, NIPS 2017, sec. 3.2.
    """
    weight = torch.ones_like(teacher[:1])
    weight[:, 0] = background
    wanted = teacher.softmax(-1)
    apart = wanted * (teacher.log_softmax(-1) - student.log_softmax(-1))
    return ((weight * apart).sum(-1) * trust).sum() / trust.sum().clamp_min(1)


def inside_boxes(
    boxes: Sequence[Boxes], *, size: int, cells: int, like: Float[Tensor, "*_"]
) -> Float[Tensor, "n cells cells"]:
    """1 where the centre of a cell of a square map lies in a box that is believed, of an image of side `size`."""
    centres = (torch.arange(cells, device=like.device, dtype=like.dtype) + 0.5) * (size / cells)

    def mask(each: Boxes) -> Tensor:
        x1, y1, x2, y2 = each.places.to(like.dtype).unbind(-1)
        across = (centres > x1[:, None]) & (centres < x2[:, None])
        down = (centres > y1[:, None]) & (centres < y2[:, None])
        believed = each.weight > 0  # not to pick boxes by it, whose number a GPU would have to be asked for
        return (believed[:, None, None] & down[:, :, None] & across[:, None, :]).any(0)

    return torch.stack([mask(each) for each in boxes]).to(like.dtype)


def imitation(
    student: dict[str, Float[Tensor, "n _ _ _"]],
    teacher: dict[str, Float[Tensor, "n _ _ _"]],
    boxes: Sequence[Boxes],
    trust: Float[Tensor, " n"],
    *,
    size: int,
) -> Float[Tensor, ""]:
    """Squared distance of feature maps in cells whose centre lies in a box, over twice the number of such cells, at
    least 1; the mean over levels. A cell counts the trust in its image; images are of side `size`.

    Wang et al., Distilling object detectors with fine-grained feature imitation, CVPR 2019, sec. 3.3, find the cells by
    anchors that overlap a box. https://arxiv.org/abs/1906.03609
    """
    terms = []
    for level, said in student.items():
        mask = inside_boxes(boxes, size=size, cells=said.shape[-1], like=trust) * trust[:, None, None]
        apart = (said.float() - teacher[level].float()).square().sum(1)
        terms.append((apart * mask).sum() / (2 * mask.sum()).clamp_min(1))
    return torch.stack(terms).mean()
