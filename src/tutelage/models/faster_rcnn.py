"""Faster R-CNN: Towards real-time object detection. Ren et al. NeurIPS 2015. https://arxiv.org/abs/1506.01497"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from tutelage.models.box_answers import Flat, best_of_each, by_image, candidates, inside, packed
from tutelage.models.box_coding import anchor_grid, decode, encode
from tutelage.models.box_losses import focal_cross_entropy, smooth_l1, weighted_mean
from tutelage.models.box_matching import Assigned, Targets, assigned, by_overlap, check_asked, padded, sampled
from tutelage.models.detectors import DetectorSpec
from tutelage.models.layout import layout
from tutelage.models.parts import by_part
from tutelage.models.pyramids import Pyramid
from tutelage.types import Boxes, Detections, Detector, Look, Losses

SCALE = 8.0  # side of a level's anchors in strides: 32 pixels at stride 4
RATIOS = (0.5, 1.0, 2.0)  # height to width
PROPOSALS = {True: 2000, False: 1000}  # an image, and candidates a level: while training, while answering
RPN_SAMPLE, RPN_OBJECTS = 256, 0.5  # anchors of an image that are trained on, and the most of them that are objects
ROI_SAMPLE, ROI_OBJECTS = 512, 0.25
ROI_SCALE = (10.0, 5.0)  # of deltas, as published: they are then of the size of logits
GAMMA = 1.5  # of the focal loss of Unbiased Teacher
Size = tuple[int, int]  # height and width
POOLED = 7  # positions along a side of a region


class FasterRcnn(Detector):
    """A proposal network says where something is, a second stage what it is.

    `weight` of a box counts in both classifications, `place_weight` in both regressions. Means are over all that was
    sampled, objects and background, each with its weights. A sample that matches a box of weight 0 is neither; if its
    place has no weight either it is never drawn. Samples are drawn from torch's global state.
    """

    def __init__(self, spec: DetectorSpec, classes: int, *, download: bool):
        super().__init__()
        self.spec, self.classes = spec, classes
        self.body = Pyramid(spec.network, strides=spec.levels, channels=spec.channels, download=download)
        self.widths = self.body.widths
        scale = SCALE if spec.anchor_scale is None else spec.anchor_scale
        self.generator = AnchorGenerator(
            tuple((scale * stride,) for stride in spec.levels), (RATIOS,) * len(spec.levels)
        )
        self.rpn = RPNHead(spec.channels, len(RATIOS))
        # Regions are looked up where the backbone has looked, sec. 4.2 of FPN; coarser levels only propose.
        self.pool = MultiScaleRoIAlign(list(self.widths)[: len(self.body.own)], POOLED, sampling_ratio=2)
        hidden = 4 * spec.channels  # 1024 for 256, as published
        self.head = TwoMLPHead(spec.channels * POOLED**2, hidden)
        self.predictor = FastRCNNPredictor(hidden, classes + 1)
        self.to(memory_format=layout(self))

    def forward(
        self, images: Float[Tensor, "n 3 h w"], targets: Sequence[Boxes] | None = None,
        weight: Float[Tensor, " n"] | None = None, *, look: bool = False, parts: Sequence[int] | None = None,
        known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses | list[Detections] | Look:  # fmt: skip
        check_asked(images, targets, weight, parts, known)
        maps = self.pyramid(images)
        size = (images.shape[-2], images.shape[-1])
        said, anchors, levels = self.propose(maps)
        found = self.proposals(said, anchors, levels, size, training=targets is not None)
        if targets is None:
            rois = tuple(each.places for each in by_image(found, len(images)))
            logits, deltas = self.regions(maps, rois, size)
            return Look({}, maps, said, rois, logits) if look else self.answers(found, logits, deltas, images)
        judged: list[Tensor] = []
        told: list[Tensor] = []

        def of(own: slice) -> Losses:
            boxes = padded(targets[own], None if weight is None else weight[own], images.device, classes=self.classes)
            looked_for = None if known is None else known[own]
            losses = self.rpn_losses({key: value[own] for key, value in said.items()}, anchors, boxes, looked_for)
            drawn, to_say = self.sample(found.of(own), boxes)
            logits, deltas = self.regions({name: m[own] for name, m in maps.items()}, drawn, size)
            judged.extend(drawn)
            told.append(logits)
            return losses | self.roi_losses(logits, deltas, drawn, to_say, looked_for)

        losses = by_part(parts, of)
        return Look(losses, maps, said, tuple(judged), torch.cat(told)) if look else losses

    def pyramid(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n _ _ _"]]:
        maps: dict[str, Tensor] = self.body(images)
        return maps

    def dense(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n p _"]]:
        return self.propose(self.pyramid(images))[0]

    def roi_logits(self, images: Float[Tensor, "n 3 h w"], rois: Sequence[Float[Tensor, "_ 4"]]) -> Tensor:
        return self.regions(self.pyramid(images), rois, (images.shape[-2], images.shape[-1]))[0]

    def propose(self, maps: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, list[int]]:
        """What the proposal network says (`logits` [n p 1], `deltas` [n p 4]), its anchors, how many a level has."""
        objects, moves = self.rpn(list(maps.values()))
        logits, deltas = [_flat(m, 1) for m in objects], [_flat(m, 4) for m in moves]
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps.values()]
        anchors = anchor_grid(self.generator, sizes, self.spec.levels, logits[0].device)
        said = {"logits": torch.cat(logits, dim=1).float(), "deltas": torch.cat(deltas, dim=1).float()}
        return said, anchors, [level.shape[1] for level in logits]

    @torch.no_grad()
    def proposals(
        self, said: dict[str, Tensor], anchors: Float[Tensor, "p 4"], levels: list[int], size: Size, *, training: bool
    ) -> Flat:
        """The surest boxes of each image, sorted by image, their label the level that they come from."""
        most = PROPOSALS[training]
        scores = said["logits"].sigmoid()
        image, place, _ = candidates(scores, levels, floor=-1.0, most=most)
        places = inside(decode(said["deltas"][image, place], anchors[place]), size)
        level = torch.repeat_interleave(torch.tensor(levels)).to(place.device)[place]
        boxes = Flat(image, places, level, scores[image, place, 0])
        boxes = boxes.at((places[:, 2:] - places[:, :2]).amin(1) >= 1e-3)
        return best_of_each(boxes, images=len(scores), kinds=len(levels), overlap=0.7, most=most)

    def rpn_losses(
        self, said: dict[str, Tensor], anchors: Float[Tensor, "p 4"], boxes: Targets,
        known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses:  # fmt: skip
        """Eq. 1, both terms over what was sampled: object or not, and where."""
        match = by_overlap(boxes, anchors, high=0.7, low=0.3, each=True)
        to_say = assigned(boxes, match, anchors).background_by(known)
        drawn = sampled(match, to_say.counts, number=RPN_SAMPLE, foreground=RPN_OBJECTS)
        wrong = functional.binary_cross_entropy_with_logits(
            said["logits"][..., 0], to_say.foreground.float(), reduction="none"
        )
        moved = smooth_l1(said["deltas"], encode(to_say.places, anchors))
        return {
            "rpn_objectness": weighted_mean(wrong, to_say.weight * drawn),
            "rpn_regression": weighted_mean(moved, to_say.place_weight * drawn, to_say.place_counted * drawn),
        }

    @torch.no_grad()
    def sample(self, found: Flat, boxes: Targets) -> tuple[tuple[Tensor, ...], Assigned]:
        """Proposals and the boxes themselves, drawn: places of each image, and of all what they are to say [1 r]."""
        images = len(boxes.labels)
        image, _ = boxes.valid.nonzero(as_tuple=True)
        of = torch.cat([found.image, image])
        order = of.argsort(stable=True)
        places, usable = packed(torch.cat([found.places, boxes.places[boxes.valid]])[order], of[order], images)
        match = by_overlap(boxes, places, high=0.5, low=0.5, each=False)
        to_say = assigned(boxes, match, places)
        drawn = sampled(match, usable & to_say.counts, number=ROI_SAMPLE, foreground=ROI_OBJECTS)
        rois = places[drawn].split(drawn.sum(1).tolist())
        return rois, Assigned(*(value[drawn][None] for value in to_say))

    def regions(
        self, maps: dict[str, Tensor], rois: Sequence[Float[Tensor, "_ 4"]], size: Size
    ) -> tuple[Float[Tensor, "r _"], Float[Tensor, "r _ 4"]]:
        """Logits of regions of each image, background first, and for each class how the box lies in the region."""
        exact = {name: m.float() for name, m in maps.items()}  # torchvision pools in the precision of the rois
        pooled = self.pool(exact, list(rois), [size] * len(rois)).to(self.head.fc6.weight.dtype)
        logits, deltas = self.predictor(self.head(pooled))
        return logits.float(), deltas.float().unflatten(1, (-1, 4))

    def roi_losses(
        self, logits: Float[Tensor, "r _"], deltas: Float[Tensor, "r _ 4"], rois: Sequence[Float[Tensor, "_ 4"]],
        to_say: Assigned, known: Bool[Tensor, "n c"] | None = None,
    ) -> Losses:  # fmt: skip
        """Eq. 1 again, of what was sampled of each image, with classes; Fast R-CNN, sec. 2.3."""
        labels = torch.where(to_say.foreground, to_say.labels + 1, 0)[0]
        also = None
        if known is not None:  # what is no object that was marked is background, or one of a class nobody looked for
            counts = torch.tensor([len(each) for each in rois], device=known.device)
            unknown = functional.pad(~known, (1, 0)).repeat_interleave(counts, 0, output_size=len(labels))
            also = unknown & (labels == 0)[:, None]
        wrong = focal_cross_entropy(logits, labels, also, gamma=GAMMA if self.spec.roi_loss == "focal" else 0.0)
        own = deltas.gather(1, labels[:, None, None].expand(-1, 1, 4))[:, 0]
        moved = smooth_l1(own, encode(to_say.places[0], torch.cat(list(rois)), ROI_SCALE))
        return {
            "roi_classification": weighted_mean(wrong, to_say.weight[0]),
            "roi_regression": weighted_mean(moved, to_say.place_weight[0], to_say.place_counted[0]),
        }

    @torch.no_grad()
    def answers(
        self,
        found: Flat,
        logits: Float[Tensor, "r _"],
        deltas: Float[Tensor, "r _ 4"],
        images: Float[Tensor, "n 3 h w"],
    ) -> list[Detections]:
        """What the second stage makes of proposals. Scores are class probabilities."""
        scores = logits.softmax(-1)[:, 1:]
        roi, label = (scores > self.spec.score_floor).nonzero(as_tuple=True)
        places = decode(deltas[roi, label + 1], found.places[roi], ROI_SCALE)
        places = inside(places, (images.shape[-2], images.shape[-1]))
        boxes = Flat(found.image[roi], places, label, scores[roi, label])
        boxes = boxes.at((places[:, 2:] - places[:, :2]).amin(1) >= 1e-2)
        best = best_of_each(
            boxes, images=len(images), kinds=self.classes, overlap=self.spec.nms, most=self.spec.max_detections
        )
        return by_image(best, len(images))


def _flat(maps: Float[Tensor, "n _ h w"], columns: int) -> Float[Tensor, "n _ _"]:
    """Maps of several anchors a position as rows: positions line by line, the anchors of each together."""
    rows: Tensor = maps.unflatten(1, (-1, columns)).permute(0, 3, 4, 1, 2).flatten(1, 3)
    return rows
