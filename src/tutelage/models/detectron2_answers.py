"""From what detectron2's heads say to regions and detections, of all images of a batch at once.

The rules and their order are detectron2's own; its loops over images make a GPU wait for each of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.models.box_answers import Flat, best_of_each, by_image, candidates, inside
from tutelage.types import Detections

Size = tuple[int, int]  # height and width


@torch.no_grad()
def proposals(
    rpn: Any, levels: Sequence[Float[Tensor, "_ 4"]], logits: Float[Tensor, "n p"], deltas: Float[Tensor, "n p 4"],
    size: Size, *, training: bool,
) -> list[Float[Tensor, "_ 4"]]:  # fmt: skip
    """Regions of each image, surest first. `levels` are the anchors of each. What is not finite is left out."""
    anchors = torch.cat(list(levels))
    image, place, _ = candidates(
        logits[..., None], [len(each) for each in levels], floor=-torch.inf, most=rpn.pre_nms_topk[training]
    )
    places = inside(rpn.box2box_transform.apply_deltas(deltas[image, place], anchors[place]), size)
    found = Flat(image, places, _level(place, levels), logits[image, place])
    best = best_of_each(
        _real(found, rpn.min_box_size), images=len(logits), kinds=len(levels), overlap=rpn.nms_thresh,
        most=rpn.post_nms_topk[training],
    )  # fmt: skip
    return [each.places for each in by_image(best, len(logits))]


@torch.no_grad()
def region_answers(
    predictor: Any, regions: Sequence[Float[Tensor, "_ 4"]], scores: Float[Tensor, "r _"], deltas: Float[Tensor, "r _"],
    size: Size,
) -> list[Detections]:  # fmt: skip
    """What the second stage finds in regions of each image. Scores are class probabilities."""
    counts = torch.tensor([len(each) for each in regions], device=scores.device)
    of = torch.repeat_interleave(torch.arange(len(regions), device=scores.device), counts, output_size=len(scores))
    places = predictor.box2box_transform.apply_deltas(deltas, torch.cat(list(regions))).unflatten(1, (-1, 4))
    chance = scores.softmax(-1)[:, :-1]
    here, label = (chance > predictor.test_score_thresh).nonzero(as_tuple=True)
    column = label if places.shape[1] > 1 else torch.zeros_like(label)
    found = Flat(of[here], inside(places[here, column], size), label, chance[here, label])
    best = best_of_each(
        _real(found, None), images=len(regions), kinds=chance.shape[1], overlap=predictor.test_nms_thresh,
        most=predictor.test_topk_per_image,
    )  # fmt: skip
    return by_image(best.at(_has_area(best)), len(regions))


@torch.no_grad()
def dense_answers(
    net: Any, levels: Sequence[Float[Tensor, "_ 4"]], logits: Float[Tensor, "n p c"], deltas: Float[Tensor, "n p 4"],
    size: Size,
) -> list[Detections]:  # fmt: skip
    """What RetinaNet finds. Scores are probabilities of a class at an anchor."""
    anchors, scores = torch.cat(list(levels)), logits.sigmoid()
    image, place, label = candidates(
        scores, [len(each) for each in levels], floor=net.test_score_thresh, most=net.test_topk_candidates
    )
    places = net.box2box_transform.apply_deltas(deltas[image, place], anchors[place])
    best = best_of_each(
        Flat(image, places, label, scores[image, place, label]), images=len(scores), kinds=scores.shape[-1],
        overlap=net.test_nms_thresh, most=net.max_detections_per_image,
    )  # fmt: skip
    best = best._replace(places=inside(best.places, size))
    return by_image(best.at(_has_area(best)), len(scores))


def _level(place: Int[Tensor, " m"], levels: Sequence[Float[Tensor, "_ 4"]]) -> Int[Tensor, " m"]:
    ends = torch.tensor([len(each) for each in levels], device=place.device).cumsum(0)
    return torch.bucketize(place, ends, right=True)


def _real(found: Flat, smallest: float | None) -> Flat:
    """Without what is not finite, and without boxes whose sides are not longer than `smallest`."""
    keep = found.places.isfinite().all(1) & found.scores.isfinite()
    if smallest is not None:
        keep &= (found.places[:, 2:] - found.places[:, :2]).amin(1) > smallest
    return found.at(keep)


def _has_area(found: Flat) -> Tensor:
    return (found.places[:, 2:] > found.places[:, :2]).all(1)
