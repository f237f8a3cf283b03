"""Unbiased Teacher for Semi-Supervised Object Detection. Liu, Ma, He, Kuo, Chen, Zhang, Wu, Kira, Vajda. ICLR 2021.
https://arxiv.org/abs/2102.09480"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from tutelage.data.mixing import Mix, mixed
from tutelage.methods.detection.counts import Counts
from tutelage.methods.detection.method import DetectionMethod, Part, before, both_views, learn, of_the_pool
from tutelage.methods.detection.opinions import PlaceTrust, all_confident, opinions, steady, surer, to_strong, untrusted
from tutelage.methods.method import check
from tutelage.models.average import average_into
from tutelage.types import BadInput, Boxes, Detector, DetectorNets, Losses, SceneBatch, Sizes


@dataclass(frozen=True, kw_only=True)
class UnbiasedTeacher(DetectionMethod):
    """After a burn-in on labels, find in the strong view what your moving average is sure of in the weak one (sec. 3).

    The focal loss of sec. 3.4 is the detector's: one-stage ones have it, faster_rcnn with `roi_loss: focal`.
    """

    teacher = "copy"
    burn_in: float = 0.01  # share of the run before there is a teacher; the authors: 2,000 of 180,000 steps
    offline: float = 0.0  # in the burn-in, weight of boxes written before the run; the paper has none
    weight: float = 4.0  # lambda_u
    decay: float = 0.9996  # alpha of the teacher's average, from the end of the burn-in on
    confidence: float = 0.7  # delta, the least score of a pseudo-box
    thresholds: tuple[float, ...] = ()  # the same for each class; empty: `confidence` for all
    count: bool = False  # in their place: as many boxes of a class an image as people drew, of Label Matching
    place_trust: PlaceTrust = "none"  # which pseudo-boxes teach places: none (the paper), the steady, the surer ones
    copies: int = 3  # jitter only: moved images that a box is to be found again in
    scatter: float = 0.02  # jitter only: what a place may differ between them, in shares of the box's mean side
    margin: float = 0.1  # certainty only: how much surer than the student the teacher is to be
    mix: Mix = "none"  # pseudo-labelled images also mixed: mixup, mosaic or both, of MixPL
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, shares=("burn_in", "decay", "confidence", "margin"), positive=("scatter",))
        check(self, weights=("offline", "weight", "unsupervised"))
        if self.copies < 1 or not all(0 <= each <= 1 for each in self.thresholds) or (self.count and self.thresholds):
            raise BadInput(f"{self}: copies is at least 1, thresholds are scores from 0 to 1, and none with count")

    def init(self, student: Detector, teacher: Detector, sizes: Sizes) -> nn.Module:
        if self.thresholds and len(self.thresholds) != sizes.classes:
            raise BadInput(f"{len(self.thresholds)} thresholds for {sizes.classes} classes: write one each, or none")
        return Counts(sizes.steps, sizes.classes)

    def loss(self, nets: DetectorNets, batch: SceneBatch) -> Losses:
        pool, known = batch.pool, both_views(batch.labeled)
        assert isinstance(nets.extra, Counts)
        if burning := before(nets.extra, self.burn_in):
            some = slice(None) if self.offline else slice(0)  # what would count nothing is not looked at
            images, boxes, weight = pool.strong[some], pool.strong_boxes[some], pool.weight[some]
        else:  # the teacher first, so that no buffer moves between the forward that has a graph and its backward
            images, boxes, weight = pool.strong, self._ask(nets, batch), torch.ones_like(pool.weight)
        task, pseudo = learn(nets.student, known, Part(*mixed(images, boxes, weight, self.mix)))
        return task | of_the_pool(pseudo, self.unsupervised * (self.offline if burning else self.weight))

    def _ask(self, nets: DetectorNets, batch: SceneBatch) -> tuple[Boxes, ...]:
        weak, teacher, counts = batch.pool.weak, nets.teacher, nets.extra
        assert isinstance(counts, Counts)
        fixed = partial(all_confident, threshold=weak.new_tensor(self.thresholds or self.confidence))
        choose = partial(counts.choose, batch.labeled.weak_boxes, batch.labeled.known) if self.count else fixed
        if self.place_trust == "jitter":
            boxes = steady(teacher, weak, choose, copies=self.copies, scatter=self.scatter)
        elif self.place_trust == "certainty":
            boxes = surer(teacher, nets.student, weak, choose, margin=self.margin)
        else:
            boxes = untrusted(opinions(teacher, weak, choose))
        return to_strong(boxes, batch.pool)

    def after_step(self, nets: DetectorNets, step: int) -> None:
        super().after_step(nets, step)
        assert isinstance(nets.extra, Counts)
        burning = step <= self.burn_in * nets.extra.steps
        average_into(nets.teacher, nets.student, decay=0.0 if burning else self.decay)
