"""With all weights 1, our losses and answers are those of torchvision's detectors, made from the same parts."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from tutelage.models import faster_rcnn
from tutelage.models.box_answers import by_image
from tutelage.models.box_coding import anchor_grid
from tutelage.models.box_matching import NONE, sampled
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.types import Boxes

SIZE, CLASSES = 64, 3
IMAGES = 3


class Body(nn.Module):
    """In place of torchvision's backbone: maps that were computed already."""

    def __init__(self, channels):
        super().__init__()
        self.out_channels = channels


def scene(seed=0):
    """Images with a few boxes of unlike sizes, with one, with none."""
    torch.manual_seed(seed)
    places = [
        torch.tensor([[2.0, 3, 19, 25], [30, 8, 58, 50], [5, 33, 27, 61], [20, 20, 26, 29]]),
        torch.tensor([[10.0, 12, 50, 57]]),
        torch.zeros(0, 4),
    ]
    boxes = [Boxes(p, torch.arange(len(p)) % CLASSES, torch.ones(len(p)), torch.ones(len(p))) for p in places]
    return torch.rand(IMAGES, 3, SIZE, SIZE), boxes


def theirs(boxes, first=0):
    return [{"boxes": each.places, "labels": each.labels + first} for each in boxes]


def stirred(kind, **fields):
    """A detector whose heads say something, so that equal answers mean something."""
    net = create_detector(DetectorSpec(kind=kind, width=4, image_size=SIZE, **fields), CLASSES)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1 and "body" not in name:
                # Scores far apart: where two are equal, whose turn it is is nobody's promise.
                parameter.add_((0.5 if "rpn" in name else 0.05) * torch.randn_like(parameter))
    return net.eval()  # the losses are asked for by targets, not by a mode


def anchors_of(net, maps):
    sizes = [m.shape[-2:] for m in maps.values()]
    levels = [net.each * height * width for height, width in sizes]
    return net.anchors(sizes, torch.device("cpu")), levels


def assert_same_boxes(found, expected, first=0):
    assert sum(len(each.scores) for each in found) > 20
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.scores, other["scores"])
        torch.testing.assert_close(ours.places, other["boxes"], atol=1e-4, rtol=0)
        assert (ours.labels + first == other["labels"]).all()


@pytest.mark.parametrize("most", [1000, 9])
def test_fcos(most):
    net, (images, boxes) = stirred("fcos", candidates=most), scene()
    seen = net(images, boxes, look=True)
    anchors, levels = anchors_of(net, seen.pyramid)
    names = ("cls_logits", "bbox_regression", "bbox_ctrness")
    said = dict(zip(names, seen.dense.values(), strict=True))
    other = FCOS(Body(32), CLASSES, score_thresh=0.05, nms_thresh=0.5, topk_candidates=most)
    expected = other.compute_loss(theirs(boxes), said, [anchors] * IMAGES, levels)
    for ours, value in zip(("classification", "regression", "centerness"), expected.values(), strict=True):
        torch.testing.assert_close(seen.losses[ours], value, rtol=1e-5, atol=1e-6)
    split = {name: list(value.split(levels, dim=1)) for name, value in said.items()}
    found = other.postprocess_detections(split, [list(anchors.split(levels))] * IMAGES, [(SIZE, SIZE)] * IMAGES)
    assert_same_boxes(net(images), found)


def test_retinanet():
    """torchvision divides by the anchors of each image that are to find a box, we by those of the batch."""
    net, (images, boxes) = stirred("retinanet", score_floor=0.01), scene()
    other = RetinaNet(Body(32), CLASSES, anchor_generator=net.generator, score_thresh=0.01, detections_per_img=100)
    sums, counts = {"classification": 0.0, "bbox_regression": 0.0}, 0
    for image, each in zip(images, boxes, strict=True):
        seen = net(image[None], [each], look=True)
        anchors, levels = anchors_of(net, seen.pyramid)
        said = dict(zip(("cls_logits", "bbox_regression"), seen.dense.values(), strict=True))
        expected = other.compute_loss(theirs([each]), said, [anchors])
        for ours, (name, value) in zip(("classification", "regression"), expected.items(), strict=True):
            torch.testing.assert_close(seen.losses[ours], value, rtol=1e-5, atol=1e-6)
            match = other.proposal_matcher(box_iou(each.places, anchors)) if len(each.places) else torch.zeros(0) - 1
            objects = int((match >= 0).sum())
            sums[name] = sums[name] + value * max(1, objects)
        counts += objects
    seen = net(images, boxes, look=True)
    for ours, value in zip(("classification", "regression"), sums.values(), strict=True):
        torch.testing.assert_close(seen.losses[ours], value / counts, rtol=1e-5, atol=1e-6)
    said = dict(zip(("cls_logits", "bbox_regression"), seen.dense.values(), strict=True))
    split = {name: list(value.split(levels, dim=1)) for name, value in said.items()}
    found = other.postprocess_detections(split, [list(anchors.split(levels))] * IMAGES, [(SIZE, SIZE)] * IMAGES)
    assert_same_boxes(net(images), found)


class Sampler:
    """torchvision's samplers draw image by image; this one draws as we do."""

    def __init__(self, number, share):
        self.number, self.share = number, share

    def __call__(self, labels):
        rows = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-1.0)
        found = torch.where(rows > 0, 0, torch.where(rows == 0, NONE, -2)).long()
        drawn = sampled(found, found > -2, number=self.number, foreground=self.share)
        chosen = [(drawn[i, : len(row)] & (row > 0), drawn[i, : len(row)] & (row == 0)) for i, row in enumerate(labels)]
        return [one.byte() for one, _ in chosen], [zero.byte() for _, zero in chosen]


@pytest.fixture
def few(monkeypatch):
    """So small samples that most anchors and regions are not drawn."""
    monkeypatch.setattr(faster_rcnn, "RPN_SAMPLE", 32)
    monkeypatch.setattr(faster_rcnn, "ROI_SAMPLE", 24)


@pytest.mark.parametrize("seed", [0, 1])
def test_faster_rcnn(few, seed):
    net, (images, boxes) = stirred("faster_rcnn", anchor_scale=4.0, score_floor=0.01), scene(seed)
    other = FasterRCNN(
        Body(32), None, rpn_anchor_generator=net.generator, rpn_head=net.rpn, box_roi_pool=net.pool, box_head=net.head,
        box_predictor=net.predictor, box_score_thresh=0.01,
    )  # fmt: skip
    other.rpn.fg_bg_sampler, other.roi_heads.fg_bg_sampler = Sampler(32, 0.5), Sampler(24, 0.25)
    shapes = [(SIZE, SIZE)] * IMAGES
    with torch.no_grad():
        maps = OrderedDict(net.pyramid(images))
        torch.manual_seed(5)
        seen = net(images, boxes, look=True)
        torch.manual_seed(5)
        other.train()
        proposals, expected = other.rpn(ImageList(images, shapes), maps, theirs(boxes, first=1))
        expected |= other.roi_heads(maps, proposals, shapes, theirs(boxes, first=1))[1]
        names = ("rpn_objectness", "rpn_regression", "roi_classification", "roi_regression")
        for ours, value in zip(names, expected.values(), strict=True):
            assert value > 0
            torch.testing.assert_close(seen.losses[ours], value, rtol=1e-5, atol=1e-6)
        other.eval()
        proposals, _ = other.rpn(ImageList(images, shapes), maps)
        assert_same_boxes(net(images), other.roi_heads(maps, proposals, shapes)[0], first=1)


def test_proposals(few):
    """Suppression of a whole batch at once leaves the proposals that torchvision's leaves, image by image."""
    net, (images, _) = stirred("faster_rcnn"), scene()
    other = FasterRCNN(Body(32), CLASSES + 1, rpn_anchor_generator=net.generator, rpn_head=net.rpn).rpn.eval()
    with torch.no_grad():
        maps = net.pyramid(images)
        said, anchors, levels = net.propose(maps)
        ours = by_image(net.proposals(said, anchors, levels, (SIZE, SIZE), training=False), IMAGES)
        expected, _ = other(ImageList(images, [(SIZE, SIZE)] * IMAGES), maps)
    torch.testing.assert_close(
        anchors, anchor_grid(net.generator, [(16, 16), (8, 8), (4, 4)], (4, 8, 16), anchors.device)
    )
    for one, two in zip(ours, expected, strict=True):
        assert len(two) > 50
        torch.testing.assert_close(one.places, two)
