"""FCOS: Fully convolutional one-stage object detection. Tian et al. ICCV 2019. https://arxiv.org/abs/1904.01355"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead

from tutelage.models.box_coding import distances, from_distances, positions
from tutelage.models.box_losses import centerness, focal, giou_loss, weighted_mean
from tutelage.models.box_matching import assigned, by_scale, padded
from tutelage.models.detectors import DetectorSpec
from tutelage.models.layout import layout
from tutelage.models.one_stage import OneStage, Size
from tutelage.models.pyramids import group_norm
from tutelage.multi_types import DenseObjects
from tutelage.types import Boxes, Losses

RADIUS = 1.5  # strides around a box's centre in which positions are trained to find it


class Fcos(OneStage):
    """Every position says a class, the distances to its box's sides, and how near it is to the box's middle.

    Means are over positions that are to find a box, each with its weights. `weight` of a box counts in the
    classification, `place_weight` in regression and centerness; they are independent. Positions of a box of weight 0
    are ignored: neither object nor background.
    """

    each = 1

    def __init__(self, spec: DetectorSpec, classes: int, *, download: bool, body: bool = True):
        super().__init__(spec, classes, download=download, body=body)
        self.classifier = FCOSClassificationHead(spec.channels, 1, classes, spec.head_convs, norm_layer=group_norm)
        self.regressor = FCOSRegressionHead(spec.channels, 1, spec.head_convs, norm_layer=group_norm)
        # Distances come out of a ReLU, and those that start at 0 could stay there. Boxes start 4 strides wide.
        nn.init.constant_(self.regressor.bbox_reg.bias, 2.0)
        self.to(memory_format=layout(self))

    def heads(self, maps: list[Float[Tensor, "n _ _ _"]]) -> dict[str, Float[Tensor, "n p _"]]:
        """`logits`, `deltas` (distances to left, top, right, bottom in strides) and `centerness`."""
        deltas, middle = self.regressor(maps)
        return {"logits": self.classifier(maps), "deltas": deltas, "centerness": middle}

    def anchors(self, sizes: Sequence[Size], device: torch.device) -> Float[Tensor, "p 4"]:
        return positions(sizes, self.spec.levels, device)

    def losses(
        self, said: dict[str, Tensor], anchors: Float[Tensor, "p 4"], levels: Sequence[int], targets: Sequence[Boxes],
        weight: Float[Tensor, " n"] | None, known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses:  # fmt: skip
        return fcos_losses(DenseObjects(said, anchors, tuple(levels)), targets, weight, known)

    def scores(self, said: dict[str, Tensor]) -> Float[Tensor, "n p c"]:
        """Geometric mean of class probability and centerness."""
        return (said["logits"].sigmoid() * said["centerness"].sigmoid()).sqrt()

    def places(self, deltas: Float[Tensor, "m 4"], anchors: Float[Tensor, "m 4"]) -> Float[Tensor, "m 4"]:
        return from_distances(deltas, anchors)


def fcos_losses(
    dense: DenseObjects, targets: Sequence[Boxes], weight: Float[Tensor, " n"] | None,
    known: Bool[Tensor, "n c"] | None = None,
) -> Losses:  # fmt: skip
    """Eq. 2 with GIoU for the regression, and the centerness of sec. 3.3 as a third term.

    Where nobody looked for a class, one that is not `known`, nothing is background to it.
    """
    said, anchors, levels = dense
    boxes = padded(targets, weight, anchors.device, classes=said["logits"].shape[-1])
    to_say = assigned(boxes, by_scale(boxes, anchors, levels, radius=RADIUS), anchors)
    middle = centerness(distances(to_say.places, anchors))
    off_centre = functional.binary_cross_entropy_with_logits(said["centerness"][..., 0], middle, reduction="none")
    wrong = focal(said["logits"], to_say.one_hot(said["logits"].shape[-1]), to_say.told(known))
    return {
        "classification": weighted_mean(wrong, to_say.weight, to_say.weight * to_say.foreground),
        "regression": weighted_mean(
            giou_loss(from_distances(said["deltas"], anchors), to_say.places), to_say.place_weight
        ),
        "centerness": weighted_mean(off_centre, to_say.place_weight),
    }
