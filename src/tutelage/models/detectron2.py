"""detectron2's Faster R-CNN and RetinaNet as Detectors: its configuration files, networks and weights, our losses.

Wu et al., Detectron2, 2019. https://github.com/facebookresearch/detectron2

detectron2 is imported where it is used: the library works without it.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tutelage.models.box_matching import check_asked, check_boxes
from tutelage.models.detectors import INSTALL_DETECTRON2, DetectorSpec
from tutelage.models.detectron2_answers import dense_answers, proposals, region_answers
from tutelage.models.detectron2_config import configure, load_weights
from tutelage.models.detectron2_losses import (
    IGNORED,
    Sums,
    aims,
    anchor_losses,
    background_by,
    chosen,
    dense_losses,
    means,
    region_losses,
    sampled,
)
from tutelage.types import BadInput, Boxes, Detections, Detector, Look, Losses

MOST_PARTS = 8  # of a batch whose means are taken apart


def create(spec: DetectorSpec, classes: int, *, download: bool = True) -> Detector:
    """The detector of the configuration `spec.config`: a name in detectron2's model zoo or the path of a YAML file.

    With `spec.pretrained` and `download`, MODEL.WEIGHTS of the configuration is read, from a file or an address; layers
    of another shape (those of other classes) stay random. Without `spec.pretrained` nothing is frozen and batch norm
    learns its statistics, which the configuration's FrozenBN could not. Raises BadInput where detectron2 is missing,
    the configuration is unknown or of another kind, or the weights do not fit.
    """
    try:
        import detectron2  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"detector.kind is 'detectron2', which is not installed ({error}). Install it: {INSTALL_DETECTRON2}"
        ) from None
    from detectron2.modeling import build_model

    config = configure(spec, classes)
    try:
        net = build_model(config)
    except AssertionError as error:
        raise BadInput(f"{spec.config} describes a network that detectron2 cannot build: {error}") from error
    kinds = {"GeneralizedRCNN": RegionDetector, "RetinaNet": RetinaDetector}
    detector = kinds[config.MODEL.META_ARCHITECTURE](net, spec, classes, bgr=config.INPUT.FORMAT == "BGR")
    if spec.pretrained and download:
        load_weights(net, config.MODEL.WEIGHTS, spec)
    return detector


class Detectron2(Detector):
    """What both kinds share: a network of detectron2 that is fed normalised, padded batches."""

    def __init__(self, net: Any, spec: DetectorSpec, classes: int, *, bgr: bool):
        super().__init__()
        self.net = net
        self.spec, self.classes, self.bgr = spec, classes, bgr
        shapes = net.backbone.output_shape()
        self.maps = sorted(self._looked_at(), key=lambda name: int(shapes[name].stride))
        self.widths = {name: shapes[name].channels for name in self.maps}
        self.to(memory_format=torch.channels_last)

    def forward(
        self, images: Float[Tensor, "n 3 h w"], targets: Sequence[Boxes] | None = None,
        weight: Float[Tensor, " n"] | None = None, *, look: bool = False, parts: Sequence[int] | None = None,
        known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses | list[Detections] | Look:  # fmt: skip
        check_asked(images, targets, weight, parts, known)
        maps = self._maps(images)
        if targets is None and not look:
            return self._found(maps, images)
        if targets is None:
            return self._look(maps, images)
        check_boxes(targets, self.classes)
        weight = images.new_ones(len(images)) if weight is None else weight.to(images.dtype)
        if known is None:
            known = torch.ones(len(images), self.classes, dtype=torch.bool, device=images.device)
        said, sums = self._taught(maps, images, [_with_area(boxes) for boxes in targets], weight, known)
        losses = self._means(sums, weight, parts)
        return said._replace(losses=losses) if look else losses

    def pyramid(self, images: Tensor) -> dict[str, Tensor]:
        maps = self._maps(images)
        return {name: maps[name] for name in self.maps}

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        """The backbone's maps of images as its configuration wants them: channels in its order, 0..255, normalised."""
        pixels = 255 * (images.flip(1) if self.bgr else images)
        normal = (pixels - self.net.pixel_mean) / self.net.pixel_std
        beyond = -images.shape[-1] % max(1, self.net.backbone.size_divisibility)
        padded = nn.functional.pad(normal, (0, beyond, 0, beyond)).contiguous(memory_format=torch.channels_last)
        maps: dict[str, Tensor] = self.net.backbone(padded)
        return maps

    @abstractmethod
    def _looked_at(self) -> set[str]: ...

    @abstractmethod
    def _found(self, maps: dict[str, Tensor], images: Tensor) -> list[Detections]: ...

    @abstractmethod
    def _look(self, maps: dict[str, Tensor], images: Tensor) -> Look: ...

    @abstractmethod
    def _taught(
        self, maps: dict[str, Tensor], images: Tensor, targets: Sequence[Boxes], weight: Tensor, known: Tensor
    ) -> tuple[Look, dict[str, Sums]]:
        """What it says on the way, without the losses, and each image's share of them."""

    @abstractmethod
    def _means(self, sums: dict[str, Sums], weight: Tensor, parts: Sequence[int] | None) -> Losses: ...


class RegionDetector(Detectron2):
    """Faster R-CNN: regions that may hold an object (RPN), then the class and place of each."""

    def _looked_at(self) -> set[str]:
        return {*self.net.proposal_generator.in_features, *self.net.roi_heads.in_features}

    def _found(self, maps: dict[str, Tensor], images: Tensor) -> list[Detections]:
        regions, *_ = self._proposals(maps, images)
        scores, deltas = self._regions(maps, regions)
        places = [each.tensor for each in regions]
        return region_answers(self.net.roi_heads.box_predictor, places, scores, deltas, _size(images))

    def _look(self, maps: dict[str, Tensor], images: Tensor) -> Look:
        proposals, _, logits, deltas = self._proposals(maps, images)
        return self._seen(maps, logits, deltas, proposals, self._regions(maps, proposals)[0])

    def roi_logits(self, images: Tensor, rois: Sequence[Tensor]) -> Tensor:
        from detectron2.structures import Boxes as Rows

        scores, _ = self._regions(self._maps(images), [Rows(places) for places in rois])
        return scores.roll(1, dims=1)

    def _taught(
        self, maps: dict[str, Tensor], images: Tensor, targets: Sequence[Boxes], weight: Tensor, known: Tensor
    ) -> tuple[Look, dict[str, Sums]]:
        from detectron2.structures import Boxes as Rows

        rpn, heads, end = self.net.proposal_generator, self.net.roi_heads, self.classes
        proposals, anchors, logits, deltas = self._proposals(maps, images)
        pairs = list(zip(targets, weight, strict=True))
        found = [aims(*pair, anchors.tensor, matcher=rpn.anchor_matcher, background=end) for pair in pairs]
        if rpn.anchor_boundary_thresh >= 0:
            outside = ~anchors.inside_box(images.shape[-2:], rpn.anchor_boundary_thresh)
            found = [aim._replace(labels=aim.labels.masked_fill(outside, IGNORED)) for aim in found]
        found = [background_by(aim, looked_for, background=end) for aim, looked_for in zip(found, known, strict=True)]
        rows = [sampled(aim.labels, **_sample(rpn, end)) for aim in found]
        sums = anchor_losses(rpn, anchors.tensor, logits, deltas, found, rows, weight, end)

        places = [
            torch.cat([near.tensor, boxes.places]) if heads.proposal_append_gt else near.tensor
            for near, boxes in zip(proposals, targets, strict=True)
        ]
        found = [
            aims(*pair, here, matcher=heads.proposal_matcher, background=end)
            for pair, here in zip(pairs, places, strict=True)
        ]
        rows = [sampled(aim.labels, **_sample(heads, end)) for aim in found]
        regions = [Rows(here[taken]) for here, taken in zip(places, rows, strict=True)]
        scores, offsets = self._regions(maps, regions)
        joined = Rows.cat(regions).tensor
        sums |= region_losses(heads.box_predictor, joined, scores, offsets, *chosen(found, rows), known)
        return self._seen(maps, logits, deltas, regions, scores), sums

    def _seen(
        self, maps: dict[str, Tensor], logits: Tensor, deltas: Tensor, regions: Sequence[Any], scores: Tensor
    ) -> Look:  # fmt: skip
        dense = {"logits": logits[..., None], "deltas": deltas}
        rois = tuple(each.tensor for each in regions)
        return Look({}, {name: maps[name] for name in self.maps}, dense, rois, scores.roll(1, dims=1))

    def _means(self, sums: dict[str, Sums], weight: Tensor, parts: Sequence[int] | None) -> Losses:
        return means(sums, parts, lambda _, counted: counted.clamp(min=1))

    def _proposals(self, maps: dict[str, Tensor], images: Tensor) -> tuple[list[Any], Any, Tensor, Tensor]:
        """Regions of each image (detectron2 Boxes, surest first), all anchors, and the RPN's logits and offsets."""
        from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
        from detectron2.structures import Boxes as Rows

        rpn = self.net.proposal_generator
        seen = [maps[name] for name in rpn.in_features]
        levels = rpn.anchor_generator(seen)
        raw_logits, raw_deltas = rpn.rpn_head(seen)
        logits = [permute_to_N_HWA_K(level.float(), 1)[..., 0] for level in raw_logits]
        deltas = [permute_to_N_HWA_K(level.float(), 4) for level in raw_deltas]
        said = torch.cat(logits, 1), torch.cat(deltas, 1)
        best = proposals(rpn, [one.tensor for one in levels], *said, _size(images), training=self.training)
        return [Rows(places) for places in best], Rows.cat(levels), *said

    def _regions(self, maps: dict[str, Tensor], regions: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Class scores [r c+1] and offsets [r 4c] or [r 4] of the regions of all images."""
        heads = self.net.roi_heads
        seen = [maps[name] for name in heads.in_features]
        if hasattr(heads, "res5"):
            pooled = heads.res5(heads.pooler(seen, list(regions))).mean(dim=(2, 3))
        else:
            pooled = heads.box_head(heads.box_pooler(seen, list(regions)))
        scores, deltas = heads.box_predictor(pooled)
        return scores.float(), deltas.float()


class RetinaDetector(Detectron2):
    """RetinaNet: the class and place of an object at every anchor."""

    # Of each part of a batch the moving average of its positive anchors, by which detectron2 divides: from 100 on.
    # It is kept in files, unlike theirs, so that a run resumes exactly.
    normaliser: Tensor

    def __init__(self, net: Any, spec: DetectorSpec, classes: int, *, bgr: bool):
        super().__init__(net, spec, classes, bgr=bgr)
        self.register_buffer("normaliser", torch.full((MOST_PARTS,), 100.0))

    def _looked_at(self) -> set[str]:
        return set(self.net.head_in_features)

    def _found(self, maps: dict[str, Tensor], images: Tensor) -> list[Detections]:
        said = self._look(maps, images).dense
        levels = [level.tensor for level in self._anchors(maps)]
        return dense_answers(self.net, levels, said["logits"], said["deltas"], _size(images))

    def _anchors(self, maps: dict[str, Tensor]) -> list[Any]:
        levels: list[Any] = self.net.anchor_generator([maps[name] for name in self.net.head_in_features])
        return levels

    def _look(self, maps: dict[str, Tensor], images: Tensor) -> Look:
        from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K

        raw = self.net.head([maps[name] for name in self.net.head_in_features])
        logits, deltas = (
            torch.cat([permute_to_N_HWA_K(level.float(), width) for level in kind], 1)
            for kind, width in zip(raw, (self.classes, 4), strict=True)
        )
        nothing = logits.new_zeros(0, self.classes + 1)
        dense = {"logits": logits, "deltas": deltas}
        return Look({}, {name: maps[name] for name in self.maps}, dense, (), nothing)

    def _taught(
        self, maps: dict[str, Tensor], images: Tensor, targets: Sequence[Boxes], weight: Tensor, known: Tensor
    ) -> tuple[Look, dict[str, Sums]]:
        from detectron2.structures import Boxes as Rows

        said = self._look(maps, images)
        anchors, matcher = Rows.cat(self._anchors(maps)).tensor, self.net.anchor_matcher
        found = [
            aims(*pair, anchors, matcher=matcher, background=self.classes) for pair in zip(targets, weight, strict=True)
        ]
        return said, dense_losses(self.net, anchors, said.dense["logits"], said.dense["deltas"], found, known)

    def _means(self, sums: dict[str, Sums], weight: Tensor, parts: Sequence[int] | None) -> Losses:
        counted = sums["classification"].counted
        sizes = [len(weight)] if parts is None else list(parts)
        if len(sizes) > MOST_PARTS:
            raise ValueError(f"a batch of {len(sizes)} parts: RetinaNet keeps the averages of {MOST_PARTS}")
        positives = torch.stack([part.sum() for part in counted.split(sizes)]).clamp(min=1)
        known = torch.stack([part.sum() for part in weight.split(sizes)]) > 0  # no images say nothing of what is usual
        before = self.normaliser[: len(sizes)]
        now = torch.where(known, 0.9 * before + 0.1 * positives, before)
        if self.training:
            self.normaliser[: len(sizes)] = now
        return means(sums, parts, lambda number, _: now[number])


def _sample(head: Any, background: int) -> dict[str, Any]:
    return {"number": head.batch_size_per_image, "positive": head.positive_fraction, "background": background}


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _with_area(boxes: Boxes) -> Boxes:
    """Without what a view cut down to nothing: detectron2 would match it to every anchor that it does not touch."""
    kept = (boxes.places[:, 2:] > boxes.places[:, :2]).all(1)
    return Boxes(*(part[kept] for part in boxes))
