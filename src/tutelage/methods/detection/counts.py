"""Thresholds that follow a teacher whose scores move: as many boxes are kept as there are objects."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from tutelage.methods.detection.opinions import all_confident
from tutelage.methods.method import Clock
from tutelage.types import Boxes, Detections

DECAY = 0.99  # of both averages, a step
BINS = 100  # scores are counted in hundredths
LEAST = 10  # hundredths: what is less sure is never kept
NEVER = 2.0  # no score is so high


class Counts(Clock):
    """How many objects of a class an image has, and how many boxes of each score a teacher finds in one, on average.

    Where scores fall, a threshold that stays keeps fewer boxes; what it misses is taught as background, and scores fall
    further. One that keeps as many boxes of a class an image as people drew in one goes along. Chen et al., Label
    Matching Semi-Supervised Object Detection, CVPR 2022, who count anew at times and not in each step.
    https://arxiv.org/abs/2206.06608

    `metrics.box_thresholds.count_matched` has the same rule for boxes that are all known. Of several processes each
    counts what it sees, and the first's counts are remembered.
    """

    objects: Tensor  # [c]
    found: Tensor  # [c, BINS + 1]

    def __init__(self, steps: int, classes: int):
        super().__init__(steps)
        self.register_buffer("objects", torch.zeros(classes))
        self.register_buffer("found", torch.zeros(classes, BINS + 1))

    def choose(
        self, given: Sequence[Boxes], known: Bool[Tensor, "b c"], found: Sequence[Detections]
    ) -> list[Detections]:
        """Count labelled images and a teacher's answers to others; of these, what reaches today's thresholds.

        A class is counted in the images where it was looked for: those in which it is `known`.
        """
        if found:
            self._count(given, known, found)
        return all_confident(found, self.thresholds())

    def thresholds(self) -> Tensor:
        """[c]: of 0.10, 0.11 .. 1.00 that from which on an image has about as many boxes as objects.

        Of two that are as near the higher. Of a class of which nobody has drawn an object nothing is kept.
        """
        above = self.found.flip(1).cumsum(1)[:, : BINS + 1 - LEAST]  # from the surest down
        nearest = (above - self.objects[:, None]).abs().argmin(1)
        return torch.where(self.objects > 0, (BINS - nearest) / BINS, NEVER)

    @torch.no_grad()
    def _count(self, given: Sequence[Boxes], known: Bool[Tensor, "b c"], found: Sequence[Detections]) -> None:
        """Both averages begin at zero and move together, so that what they lack at first is the same share of each."""
        drawn = torch.cat([each.labels[each.weight > 0] for each in given])
        images = known.sum(0)
        moved = (1 - DECAY) * (images > 0).float()
        self.objects.lerp_(_tally(drawn, self.objects) / images.clamp(min=1), moved)
        hundredths = torch.cat([each.labels * (BINS + 1) + (BINS * each.scores).long() for each in found])
        self.found.lerp_(_tally(hundredths, self.found) / len(found), moved[:, None])


def _tally(places: Tensor, like: Tensor) -> Tensor:
    return torch.bincount(places, minlength=like.numel()).to(like).view_as(like)
