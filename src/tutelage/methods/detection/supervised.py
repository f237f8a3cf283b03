"""What every gain is measured against: labelled scenes alone, seen twice, as Unbiased Teacher does before its teacher
exists. Liu et al. ICLR 2021, sec. 3.1. https://arxiv.org/abs/2102.09480"""

from dataclasses import dataclass

from tutelage.methods.detection.method import DetectionMethod, blended, given, learn
from tutelage.methods.method import check
from tutelage.types import DetectorNets, Losses, SceneBatch


@dataclass(frozen=True, kw_only=True)
class Supervised(DetectionMethod):
    """Find what people marked, in the weak and in the strong view."""

    teacher = "self"
    pool = False
    strong: float = 0.5  # share of the strong view in every term

    def __post_init__(self) -> None:
        check(self, shares=("strong",))

    def loss(self, nets: DetectorNets, batch: SceneBatch) -> Losses:
        scenes = batch.labeled
        weak, strong = learn(
            nets.student,
            given(scenes.weak, scenes.weak_boxes, scenes.known),
            given(scenes.strong, scenes.strong_boxes, scenes.known),
        )
        return blended(weak, strong, self.strong)
