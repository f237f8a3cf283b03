"""Learning Efficient Object Detection Models with Knowledge Distillation. Chen, Choi, Yu, Han, Chandraker. NIPS 2017,
and its features where the objects are: Wang, Yuan, Zhang, Feng. CVPR 2019. https://arxiv.org/abs/1906.03609"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.losses.soft_boxes import imitation, soft_positions, soft_regions
from tutelage.methods.detection.method import DetectionMethod, both_views, given, learn_and_look
from tutelage.methods.method import check
from tutelage.models.pyramid_adapters import PyramidAdapters
from tutelage.types import BadInput, Detector, DetectorNets, Look, Losses, SceneBatch, Sizes


@dataclass(frozen=True, kw_only=True)
class KD(DetectionMethod):
    """Say of every position and region what the teacher says, and see what it sees where there are objects.

    Pool images are learned from as labelled ones are, but for the labels: their objects are the boxes that the teacher
    wrote before the run. Both networks see the strong view, and of labelled images the weak one too, as the baseline.
    """

    dense: float = 1.0  # weight of the soft classes of positions; of a proposal network, of object or not
    regions: float = 1.0  # weight of the soft classes of regions, where there is a second stage (NIPS 2017)
    background: float = 1.5  # what background weighs among the classes of a region, others 1 (NIPS 2017)
    features: float = 0.01  # lambda, of the feature pyramid in the objects' cells (CVPR 2019)
    unsupervised: float = 1.0  # what a pool image counts beside a labelled one, that being 1

    def __post_init__(self) -> None:
        check(self, weights=("dense", "regions", "background", "features", "unsupervised"))

    @property
    def unread(self) -> frozenset[str]:
        return frozenset({"pool.weak"})

    def init(self, student: Detector, teacher: Detector, sizes: Sizes) -> nn.Module:
        return PyramidAdapters(student, teacher)

    def loss(self, nets: DetectorNets, batch: SceneBatch) -> Losses:
        known, pool = both_views(batch.labeled), given(batch.pool.strong, batch.pool.strong_boxes)
        # The pool's losses are left out; were its images to weigh nothing, no region of them would be drawn either.
        (task, _), student = learn_and_look(nets.student, known, pool)
        images, boxes = torch.cat([known.images, pool.images]), (*known.boxes, *pool.boxes)
        teacher = nets.teacher(images, look=True)
        trust = torch.ones(len(images), device=images.device)
        trust[len(known.images) :] = self.unsupervised
        said, wanted = student.dense["logits"], teacher.dense["logits"]
        if said.shape != wanted.shape:
            raise BadInput(
                f"The student answers {tuple(said.shape[1:])} positions and classes, its teacher "
                f"{tuple(wanted.shape[1:])}: give both detectors one kind, one image_size and the same levels"
            )
        maps, size = nets.extra(student.pyramid), images.shape[-1]
        return task | {
            "dense": self.dense * soft_positions(said, wanted, trust),
            "regions": self.regions * self._regions(nets, images, student, trust),
            "features": self.features * imitation(maps, teacher.pyramid, boxes, trust, size=size),
        }

    def _regions(self, nets: DetectorNets, images: Tensor, student: Look, trust: Tensor) -> Tensor:
        if not student.rois:  # no second stage: no term, whatever its weight
            return student.roi_logits.sum()
        counts = torch.tensor([len(rois) for rois in student.rois], device=images.device)
        wanted = nets.teacher.roi_logits(images, student.rois)
        return soft_regions(student.roi_logits, wanted, trust.repeat_interleave(counts), background=self.background)
