"""A Simple Semi-Supervised Learning Framework for Object Detection (STAC). Sohn, Zhang, Li, Zhang, Lee, Pfister. 2020.
https://arxiv.org/abs/2005.04757"""

from dataclasses import dataclass

import torch

from tutelage.data.mixing import Mix, mixed
from tutelage.losses.soft_boxes import as_boxes, at_least_one
from tutelage.methods.detection.method import DetectionMethod, Part, blended, given, learn, of_the_pool
from tutelage.methods.detection.opinions import opinions, to_strong
from tutelage.methods.method import check
from tutelage.types import DetectorNets, Losses, PoolScenes, SceneBatch


@dataclass(frozen=True, kw_only=True)
class STAC(DetectionMethod):
    """A teacher marks the plain pool; the student finds the same boxes under strong noise (eq. 1).

    By default the boxes are those that were written before the run, filtered there, and an image without any is not
    learned from. With `online` the teacher answers the weak view in each step. The labelled scenes are seen in both
    views, as the baseline sees them; in the paper weakly alone (`strong: 0`).
    """

    weight: float = 2.0  # lambda_u
    strong: float = 0.5  # share of the strong view in what the labelled scenes teach
    online: bool = False  # ask the teacher in each step; pseudo-boxes in the batch are not read
    confidence: float = 0.9  # tau, online only; an image without a box so sure keeps its surest
    mix: Mix = "none"  # pseudo-labelled images also mixed: mixup, mosaic or both, of MixPL
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, shares=("strong", "confidence"), weights=("weight", "unsupervised"))

    @property
    def unread(self) -> frozenset[str]:
        ignored = {"labeled.strong": not self.strong, "pool.weak": not self.online}
        return frozenset(view for view, unused in ignored.items() if unused)

    def loss(self, nets: DetectorNets, batch: SceneBatch) -> Losses:
        pool = self._ask(nets, batch.pool) if self.online else batch.pool
        noisy = Part(*mixed(pool.strong, pool.strong_boxes, pool.weight, self.mix))
        known = given(batch.labeled.weak, batch.labeled.weak_boxes, batch.labeled.known)
        if not self.strong:
            task, pseudo = learn(nets.student, known, noisy)
        else:
            bold = given(batch.labeled.strong, batch.labeled.strong_boxes, batch.labeled.known)
            weak, strong, pseudo = learn(nets.student, known, bold, noisy)
            task = blended(weak, strong, self.strong)
        return task | of_the_pool(pseudo, self.unsupervised * self.weight)

    def _ask(self, nets: DetectorNets, pool: PoolScenes) -> PoolScenes:
        found = opinions(nets.teacher, pool.weak, lambda found: [at_least_one(one, self.confidence) for one in found])
        boxes = [as_boxes(each, torch.ones_like(each.scores)) for each in found]
        some = torch.tensor([float(len(each.scores) > 0) for each in found], device=pool.weight.device)
        return pool._replace(strong_boxes=to_strong(boxes, pool), weight=some)
