"""RetinaNet: Focal loss for dense object detection. Lin et al. ICCV 2017. https://arxiv.org/abs/1708.02002"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead

from tutelage.models.box_coding import anchor_grid, decode, encode
from tutelage.models.box_losses import focal, smooth_l1, weighted_mean
from tutelage.models.box_matching import assigned, by_overlap, padded
from tutelage.models.detectors import DetectorSpec
from tutelage.models.layout import layout
from tutelage.models.one_stage import OneStage, Size
from tutelage.models.pyramids import group_norm
from tutelage.types import Boxes, Losses

SCALE = 4.0  # side of the smallest anchor of a level in strides
OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)  # height to width


class RetinaNet(OneStage):
    """Nine anchors at every position each say a class and how far the box is from them.

    Means are over anchors that are to find a box, each with its weights, of the whole batch. (torchvision's is a mean
    over images of means over anchors: a box of a full image counts less.) `weight` of a box counts in the
    classification, `place_weight` in the regression. The anchors matched to a box of weight 0 are ignored.
    """

    each = len(OCTAVE) * len(RATIOS)

    def __init__(self, spec: DetectorSpec, classes: int, *, download: bool):
        super().__init__(spec, classes, download=download)
        scale = SCALE if spec.anchor_scale is None else spec.anchor_scale
        sides = tuple(tuple(scale * stride * step for step in OCTAVE) for stride in spec.levels)
        self.generator = AnchorGenerator(sides, (RATIOS,) * len(sides))
        self.classifier = RetinaNetClassificationHead(spec.channels, self.each, classes, norm_layer=group_norm)
        self.regressor = RetinaNetRegressionHead(spec.channels, self.each, norm_layer=group_norm)
        for head in (self.classifier, self.regressor):
            head.conv = head.conv[: spec.head_convs]  # torchvision makes four, as published
        self.to(memory_format=layout(self))

    def heads(self, maps: list[Float[Tensor, "n _ _ _"]]) -> dict[str, Float[Tensor, "n p _"]]:
        return {"logits": self.classifier(maps), "deltas": self.regressor(maps)}

    def anchors(self, sizes: Sequence[Size], device: torch.device) -> Float[Tensor, "p 4"]:
        return anchor_grid(self.generator, sizes, self.spec.levels, device)

    def losses(
        self, said: dict[str, Tensor], anchors: Float[Tensor, "p 4"], levels: Sequence[int], targets: Sequence[Boxes],
        weight: Float[Tensor, " n"] | None, known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses:  # fmt: skip
        """Sec. 4.1: focal loss of all anchors but the ignored, and how far the deltas are off (smooth L1 of beta 0)."""
        boxes = padded(targets, weight, anchors.device, classes=self.classes)
        to_say = assigned(boxes, by_overlap(boxes, anchors, high=0.5, low=0.4, each=True), anchors)
        wrong = focal(said["logits"], to_say.one_hot(self.classes), to_say.told(known))
        return {
            "classification": weighted_mean(wrong, to_say.weight, to_say.weight * to_say.foreground),
            "regression": weighted_mean(
                smooth_l1(said["deltas"], encode(to_say.places, anchors), beta=0.0), to_say.place_weight
            ),
        }

    def scores(self, said: dict[str, Tensor]) -> Float[Tensor, "n p c"]:
        return said["logits"].sigmoid()

    def places(self, deltas: Float[Tensor, "m 4"], anchors: Float[Tensor, "m 4"]) -> Float[Tensor, "m 4"]:
        return decode(deltas, anchors)
