"""Data-Uncertainty Guided Multi-Phase Learning for Semi-Supervised Object Detection. Wang, Li, Guo, Fang, Wang.
CVPR 2021. https://arxiv.org/abs/2103.16368"""

from dataclasses import dataclass

import torch

from tutelage.methods.detection.method import DetectionMethod, Part, both_views, learn, of_the_pool
from tutelage.methods.method import check
from tutelage.metrics.box_trust import region_weight
from tutelage.types import Boxes, DetectorNets, Losses, SceneBatch


@dataclass(frozen=True, kw_only=True)
class DUGMultiPhase(DetectionMethod):
    """Doubt what no pseudo-box covers: regions of a pool image count by how much they overlap one (RoI re-weighting).

    One run is one phase. What is easy, which boxes two detectors agree on and how three are fused is decided before and
    after it, in the pseudo-boxes and their images' weights. A region here is what the detector matches to a box, or
    does not: matched ones overlap by half and more, so they weigh w(1), the paper's w being above 0.979 from there on;
    all others weigh w(0), where the paper's rises between. Its second factor, by an embedding of regions, is left out.
    """

    weight: float = 1.0  # of the pool's mean loss
    reweigh: bool = True  # false: all regions count alike
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, weights=("weight", "unsupervised"))

    @property
    def unread(self) -> frozenset[str]:
        return frozenset({"pool.weak"})

    def loss(self, nets: DetectorNets, batch: SceneBatch) -> Losses:
        pool = batch.pool
        doubt, sure = region_weight(torch.tensor([0.0, 1.0], device=pool.weight.device))
        if not self.reweigh:
            doubt = sure = torch.ones_like(sure)
        # A box counts its own weight times its image's, background the image's alone.
        boxes = [self._raised(each, sure / doubt) for each in pool.strong_boxes]
        noisy = Part(pool.strong, boxes, doubt * pool.weight)
        task, pseudo = learn(nets.student, both_views(batch.labeled), noisy)
        return task | of_the_pool(pseudo, self.unsupervised * self.weight)

    @staticmethod
    def _raised(boxes: Boxes, factor: torch.Tensor) -> Boxes:
        return boxes._replace(weight=factor * boxes.weight, place_weight=factor * boxes.place_weight)
