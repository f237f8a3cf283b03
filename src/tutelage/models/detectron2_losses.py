"""detectron2's losses with a weight for each box and each image.

Letters in shapes: n images, p places, s r sampled ones, c classes.

Built from detectron2's own matchers, samplers and box coders: with all weights one they are its own losses. The class
of a place (an anchor, a region) that is matched to a box counts the box's `weight`, its regression the box's
`place_weight`, background 1; all of it is times the image's weight. So a place matched to a box of weight 0 is neither
that object nor background; where the box's place weighs nothing either, it is not sampled. Nor is what lies by half or
more in such a box and is matched to no other.

Means divide by what detectron2 divides by, with counts replaced by summed weights: the RPN by the size of a full sample
for each image, the RoI head by the sampled regions, background too, RetinaNet by a moving average of positive anchors.

detectron2 is imported where it is used: the library works without it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage.models.box_losses import focal_cross_entropy
from tutelage.models.box_matching import half_inside
from tutelage.types import Boxes, Losses

IGNORED = -1


class Aims(NamedTuple):
    """What each place is to learn. `labels` are a class, the number of classes for background, or IGNORED."""

    labels: Int[Tensor, " p"]
    places: Float[Tensor, "p 4"]  # of the matched box; of any box where there is none
    weight: Float[Tensor, " p"]
    place_weight: Float[Tensor, " p"]  # of background its weight: it has no place, but it is counted


class Sums(NamedTuple):
    """A loss of each image, and the weight that stands behind it: a mean over images divides one by the other."""

    loss: Float[Tensor, " n"]
    counted: Float[Tensor, " n"]


@torch.no_grad()
def aims(
    boxes: Boxes, image: Float[Tensor, ""], places: Float[Tensor, "p 4"], *, matcher: Any, background: int
) -> Aims:
    """Match the places of one image of weight `image` to its boxes; `matcher` is detectron2's."""
    from detectron2.structures import Boxes as Rows
    from detectron2.structures import pairwise_iou

    everywhere = image.expand(len(places))
    if len(boxes.labels) == 0:
        nothing = torch.full((len(places),), background, dtype=torch.int64, device=places.device)
        return Aims(nothing, torch.zeros_like(places), everywhere, everywhere)
    which, verdict = matcher(pairwise_iou(Rows(boxes.places), Rows(places)))
    found, of_class, of_place = verdict == 1, boxes.weight[which], boxes.place_weight[which]
    labels = torch.where(found, boxes.labels[which], background)
    silent = (boxes.weight == 0) & (boxes.place_weight == 0)
    doubted = (half_inside(places, boxes.places) & silent[:, None]).any(0)
    labels[(verdict == -1) | torch.where(found, silent[which], doubted)] = IGNORED
    weights = (image * torch.where(found, trust, 1.0) for trust in (of_class, of_place))
    return Aims(labels, boxes.places[which], *weights)


def background_by(aim: Aims, known: Bool[Tensor, " c"], *, background: int) -> Aims:
    """Background weighs the share of the classes that were looked for: as box_matching.Assigned.background_by."""
    trust = torch.where(aim.labels == background, known.float().mean(), 1.0)
    return aim._replace(weight=trust * aim.weight, place_weight=trust * aim.place_weight)


def sampled(labels: Int[Tensor, " p"], *, number: int, positive: float, background: int) -> Int[Tensor, " s"]:
    """Which places are learnt from: at most `number`, of them at most the share `positive` objects. Objects first."""
    from detectron2.modeling.sampling import subsample_labels

    return torch.cat(subsample_labels(labels, number, positive, background))


def chosen(found: Sequence[Aims], rows: Sequence[Int[Tensor, " _"]]) -> tuple[Aims, Int[Tensor, " s"]]:
    """The aims of some places of each image in one row, and the image of each."""
    kept = [Aims(*(part[here] for part in aim)) for aim, here in zip(found, rows, strict=True)]
    image = torch.cat([torch.full_like(here, number) for number, here in enumerate(rows)])
    return Aims(*(torch.cat(parts) for parts in zip(*kept, strict=True))), image


def by_image(values: Float[Tensor, " s"], image: Int[Tensor, " s"], images: int) -> Float[Tensor, " n"]:
    """Sum of the values of each image."""
    return values.new_zeros(images).index_add(0, image, values)


def regression(
    source: Float[Tensor, "s 4"], deltas: Float[Tensor, "s 4"], goal: Float[Tensor, "s 4"], head: Any
) -> Float[Tensor, " s"]:
    """Loss of each predicted offset from `source`, of the kind that `head` (a part of detectron2) was made with."""
    from detectron2.layers import ciou_loss, diou_loss
    from fvcore.nn import giou_loss, smooth_l1_loss

    if head.box_reg_loss_type == "smooth_l1":
        wanted = head.box2box_transform.get_deltas(source, goal)
        loss: Tensor = smooth_l1_loss(deltas, wanted, beta=head.smooth_l1_beta, reduction="none").sum(-1)
        return loss
    losses = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}
    loss = losses[head.box_reg_loss_type](head.box2box_transform.apply_deltas(deltas, source), goal, reduction="none")
    return loss


def anchor_losses(
    rpn: Any, anchors: Float[Tensor, "p 4"], logits: Float[Tensor, "n p"], deltas: Float[Tensor, "n p 4"],
    found: Sequence[Aims], rows: Sequence[Int[Tensor, " _"]], weight: Float[Tensor, " n"], background: int,
) -> dict[str, Sums]:  # fmt: skip
    """Objectness and offsets of the anchors in `rows`. Ren et al. 2015, eq. 1. https://arxiv.org/abs/1506.01497"""
    here, image = chosen(found, rows)
    place, objects = torch.cat(list(rows)), here.labels != background
    entropy = F.binary_cross_entropy_with_logits(logits[image, place], objects.float(), reduction="none")
    where, what = image[objects], place[objects]
    offsets = regression(anchors[what], deltas[where, what], here.places[objects], rpn)
    terms = {
        "loss_rpn_cls": by_image(entropy * here.weight, image, len(weight)),
        "loss_rpn_loc": by_image(offsets * here.place_weight[objects], where, len(weight)),
    }
    scale = {name: rpn.loss_weight.get(name, 1.0) / rpn.batch_size_per_image for name in terms}
    names = {"loss_rpn_cls": "rpn_objectness", "loss_rpn_loc": "rpn_regression"}
    return {names[name]: Sums(scale[name] * sums, weight) for name, sums in terms.items()}


def region_losses(
    predictor: Any, regions: Float[Tensor, "r 4"], scores: Float[Tensor, "r _"], deltas: Float[Tensor, "r _"],
    found: Aims, image: Int[Tensor, " r"], known: Bool[Tensor, "n c"],
) -> dict[str, Sums]:  # fmt: skip
    """Class and offsets of sampled regions. Girshick 2015, eq. 1, over all of them. https://arxiv.org/abs/1504.08083

    A region that is no object is background, or one of a class that nobody looked for.
    """
    images, background = len(known), (found.labels == predictor.num_classes)[:, None]
    entropy = focal_cross_entropy(scores, found.labels, F.pad(~known, (0, 1))[image] & background, gamma=0.0)
    objects = (found.labels != predictor.num_classes).nonzero()[:, 0]
    by_class = deltas.view(len(deltas), -1, 4)[objects]
    column = found.labels[objects] if by_class.shape[1] > 1 else torch.zeros_like(objects)
    mine = by_class[torch.arange(len(objects), device=objects.device), column]
    offsets = regression(regions[objects], mine, found.places[objects], predictor)
    scale = {name: predictor.loss_weight.get(name, 1.0) for name in ("loss_cls", "loss_box_reg")}
    return {
        "roi_classification": Sums(
            scale["loss_cls"] * by_image(entropy * found.weight, image, images), by_image(found.weight, image, images)
        ),
        "roi_regression": Sums(
            scale["loss_box_reg"] * by_image(offsets * found.place_weight[objects], image[objects], images),
            by_image(found.place_weight, image, images),
        ),
    }


def dense_losses(
    net: Any, anchors: Float[Tensor, "p 4"], logits: Float[Tensor, "n p c"], deltas: Float[Tensor, "n p 4"],
    found: Sequence[Aims], known: Bool[Tensor, "n c"],
) -> dict[str, Sums]:  # fmt: skip
    """Focal loss of all anchors and offsets of the positive ones, both counted in the classes' weights of the latter.

    Lin et al. 2017, eq. 5 and section 4.1. https://arxiv.org/abs/1708.02002
    """
    from fvcore.nn import sigmoid_focal_loss_jit

    labels, places, weight, place_weight = (torch.stack(parts) for parts in zip(*found, strict=True))
    learnt = labels != IGNORED
    targets = F.one_hot(labels.clamp(min=0), net.num_classes + 1)[..., :-1].to(logits.dtype)
    focal = sigmoid_focal_loss_jit(
        logits, targets, alpha=net.focal_loss_alpha, gamma=net.focal_loss_gamma, reduction="none"
    )
    objects = labels != net.num_classes
    told = known[:, None] | objects[..., None]  # as box_matching.Assigned.told
    image, place = (learnt & objects).nonzero(as_tuple=True)
    offsets = regression(anchors[place], deltas[image, place], places[image, place], net)
    counted = by_image(weight[image, place], image, len(labels))
    return {
        "classification": Sums(((focal * told).sum(-1) * weight * learnt).sum(-1), counted),
        "regression": Sums(by_image(offsets * place_weight[image, place], image, len(labels)), counted),
    }


def means(sums: dict[str, Sums], parts: Sequence[int] | None, divisor: Callable[[int, Tensor], Tensor]) -> Losses:
    """One mean of each loss over all images, or over each of `parts` with its number before the name.

    `divisor` makes of the number of a part and the sum of what it counted what divides its losses.
    """
    if parts is None:
        return {name: each.loss.sum() / divisor(0, each.counted.sum()) for name, each in sums.items()}
    apart = {name: [column.split(list(parts)) for column in each] for name, each in sums.items()}
    return {
        f"{number}.{name}": loss[number].sum() / divisor(number, counted[number].sum())
        for number in range(len(parts))
        for name, (loss, counted) in apart.items()
    }
