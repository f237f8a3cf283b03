"""Scenes and detectors for tests of detection."""

import torch
from tiny import watched
from tiny_detector import TinyDetector
from torch import nn

from tutelage.models.average import FrozenDetector
from tutelage.models.parts import by_part
from tutelage.types import Boxes, Detections, Detector, DetectorNets, Look, PoolScenes, SceneBatch, Scenes, Sizes

SIZE = 24
FLIP = torch.tensor([[-1.0, 0.0, SIZE], [0.0, 1.0, 0.0]])
SAME = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def boxes(*places, labels=None, weight=1.0, place_weight=1.0):
    k = len(places)
    return Boxes(
        torch.tensor(places, dtype=torch.float32).reshape(k, 4),
        torch.tensor(range(k) if labels is None else labels, dtype=torch.int64) % 3,
        torch.full((k,), weight),
        torch.full((k,), place_weight),
    )


SOME = ((2, 2, 12, 12), (10, 12, 22, 22))


def scene_batch(labeled=3, pool=4, given=True) -> SceneBatch:
    """The last labelled image has no object, and a teacher found none in the odd pool images; views are mirrored."""

    def flipped(each):
        return each._replace(places=torch.stack([SIZE - each.places[:, 2], each.places[:, 1],
                                                 SIZE - each.places[:, 0], each.places[:, 3]], dim=-1))  # fmt: skip

    def views(n):
        weak = torch.rand(n, 3, SIZE, SIZE)
        return weak, (weak.flip(-1) + 0.2 * torch.rand_like(weak)).clamp(max=1)

    marked = tuple(boxes(*(SOME if given and k < labeled - 1 else ())) for k in range(labeled))
    found = tuple(boxes(*(SOME[:1] if given and k % 2 == 0 else ()), weight=0.8, labels=[1] * (given and k % 2 == 0))
                  for k in range(pool))  # fmt: skip
    (weak, strong), (pool_weak, pool_strong) = views(labeled), views(pool)
    trust = torch.tensor([float(len(each.labels) > 0) for each in found])
    return SceneBatch(
        Scenes(weak, marked, strong, tuple(map(flipped, marked)), torch.ones(labeled, 3, dtype=torch.bool)),
        PoolScenes(
            pool_weak,
            found,
            pool_strong,
            tuple(map(flipped, found)),
            FLIP.expand(pool, 2, 3),
            torch.ones(pool, SIZE, SIZE, dtype=torch.bool),
            torch.tensor(0.25),
            trust,
            torch.arange(pool),
        ),
    )


def detector_nets(method, *, steps=60, classes=3) -> DetectorNets:
    """Networks for a method, as the engine would hand them over, in train mode."""
    student, given = TinyDetector(classes=classes), TinyDetector(width=12, classes=classes)
    nn.init.normal_(given.head.weight, std=1.0)  # a teacher with opinions
    teacher = watched(method.teacher, student, given, FrozenDetector)
    return DetectorNets(student, teacher, method.init(student, teacher, Sizes(3, 4, classes, steps)))


class Scripted(Detector):
    """Answers what it was told to, image by image, and remembers what it was asked.

    Its losses are the weights that it was given: `classification` the sum of the boxes' weights times their image's,
    `box` of their place weights; an image counts 100 of its own, so that a test sees what background weighs.
    """

    def __init__(self, *found: Detections, rois=()):
        super().__init__()
        self.classes, self.widths, self.found, self.rois, self.asked = 3, {"p2": 2}, list(found), rois, []
        self.bias, self.known = nn.Parameter(torch.zeros(())), None

    def forward(self, images, targets=None, weight=None, *, look=False, parts=None, known=None):
        self.asked.append((images, targets, weight, parts))
        self.known = self.known if targets is None else known
        if targets is None and not look:
            return [self.found[k % len(self.found)] for k in range(len(images))]
        losses = {} if targets is None else by_part(parts, lambda s: self._losses(targets[s], weight[s]))
        logits = images[:, 0, :2, :2].flatten(1)[..., None].expand(-1, -1, 3) + self.bias
        rois = tuple(self.rois[k % len(self.rois)] for k in range(len(images))) if self.rois else ()
        count = sum(map(len, rois))
        return (
            Look(losses, self.pyramid(images), {"logits": logits}, rois, self.bias.expand(count, 4)) if look else losses
        )

    def _losses(self, targets, weight):
        def terms(field):
            return sum(w * (100 + getattr(each, field).sum()) for each, w in zip(targets, weight, strict=True))

        return {
            name: terms(field) + self.bias for name, field in (("classification", "weight"), ("box", "place_weight"))
        }

    def pyramid(self, images):
        return {"p2": images[:, :2, ::4, ::4] + self.bias}

    def roi_logits(self, images, rois):
        return torch.cat([each[:, :4] for each in rois])


def found(*scores, places=None, labels=None) -> Detections:
    """Detections of 4x4 pixels at (2, 2), unless said otherwise."""
    k = len(scores)
    places = [[2, 2, 6, 6]] * k if places is None else places
    return Detections(
        torch.tensor(places, dtype=torch.float32).reshape(k, 4),
        torch.tensor([0] * k if labels is None else labels).long(),
        torch.tensor(scores, dtype=torch.float32),
    )


def scripted_nets(method, student: Scripted, teacher: Scripted | None = None, *, steps=60) -> DetectorNets:
    """Networks for a method. A teacher that the method would copy from the student is the one handed in."""
    second = student if method.teacher == "self" else FrozenDetector(teacher or student)
    return DetectorNets(student, second, method.init(student, second, Sizes(3, 4, 3, steps)))
