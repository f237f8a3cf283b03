"""Networks with several heads and batches for tests of multi-task training."""

import torch
from torch import nn

from tutelage.methods.multitask.regression import Extremes
from tutelage.models.average import FrozenMulti
from tutelage.models.detectors import DetectorSpec
from tutelage.models.multi import MultiNet
from tutelage.models.multi_spec import MultiSpec
from tutelage.multi_types import (
    Annotated,
    Depths,
    Multi,
    MultiBatch,
    MultiNets,
    MultiOutputs,
    Objects,
    Present,
    Segments,
    Truth,
)
from tutelage.types import TASKS, Boxes, Sizes

SIZE, CLASSES = 32, 3
SPEC = DetectorSpec(width=8, channels=8, head_convs=1, image_size=SIZE, levels=(4, 8))


def multi_net(tasks=TASKS):
    return MultiNet(MultiSpec(tasks=tasks, detector=SPEC, dense_width=8), CLASSES)


def truth(rows):
    """A box of class 1 and its pixels, on a slope, in every image of `rows`."""
    rows, m = torch.tensor(rows, dtype=torch.long), len(rows)
    box = Boxes(torch.tensor([[4.0, 4, 20, 20]]), torch.tensor([1]), torch.ones(1), torch.ones(1))
    pixels = torch.zeros(m, SIZE, SIZE, dtype=torch.long)
    pixels[:, 4:20, 4:20] = 2
    present = torch.tensor([0.0, 1.0, 0.0]).expand(m, CLASSES)
    slope = torch.linspace(1, 3, SIZE).expand(m, SIZE, SIZE)
    return Truth(
        Present(rows, present, torch.ones(m, CLASSES)),
        Objects(rows, (box,) * m, torch.ones(m), torch.ones(m, CLASSES, dtype=torch.bool)),
        Segments(rows, pixels, torch.ones(m, SIZE, SIZE), torch.ones(m, CLASSES + 1, dtype=torch.bool)),
        Depths(rows, slope, torch.ones(m, SIZE, SIZE)),
    )


def annotated(n, **rows):
    """`n` images; of a task that `rows` names, these are annotated, else all."""
    each = {task: getattr(truth(rows.get(task, list(range(n)))), task) for task in TASKS}
    images = torch.rand(n, 3, SIZE, SIZE)
    images[:, :, 4:20, 4:20] *= 0.3
    return Annotated(images, Truth(**each))


def multi_batch(labeled=2, pool=3, **rows):
    """As `annotated`, for both parts."""
    return MultiBatch(
        annotated(labeled, **{task: [row for row in own if row < labeled] for task, own in rows.items()}),
        annotated(pool, **{task: [row for row in own if row < pool] for task, own in rows.items()}),
    )


def multi_nets(method, student=None):
    """Networks for a method, as the engine would hand them over, in train mode."""
    given = method.teacher == "given"  # by a teacher of depth, to a student of depth alone
    student = multi_net(("depth",) if given else TASKS) if student is None else student
    teacher = FrozenMulti(multi_net() if given else student) if method.teacher != "self" else student
    extra = method.init(student, teacher, Sizes(2, 3, CLASSES, 60))
    for part in extra.modules():
        if isinstance(part, Extremes):  # once the teacher was right: or it is trusted nowhere, wrong as it is
            part.low.zero_()
    return MultiNets(student, teacher, extra)


class SaysDepth(Multi):
    """Its ln depth is one channel of the image, and its one map, of 8 channels, is made of that."""

    def __init__(self, channel):
        super().__init__()
        self.tasks, self.classes, self.widths, self.channel = ("depth",), CLASSES, {"p2": 8}, channel
        self.factor = nn.Parameter(torch.ones(8))

    def forward(self, images, rows=None):
        own = images[:, self.channel]
        maps = own[:, None] * self.factor.view(8, 1, 1)
        return MultiOutputs({"p2": maps}, None, None, None, maps[:, 0])

    def answers(self, images):
        raise NotImplementedError


def saying_depth(method, student, teacher, labels):
    """Networks that say these numbers of an image each, and a batch with those labels; None: the sensor is blind."""
    told = torch.tensor([[*each, 0.0] for each in zip(student, teacher, strict=True)])
    given = torch.tensor([1.0 if label is None else label for label in labels]).exp()
    seen = torch.tensor([float(label is not None) for label in labels])
    depth = Depths(torch.arange(len(seen)), *(x[:, None, None].expand(-1, 4, 4) for x in (given, seen)))
    images = told[:, :, None, None].expand(-1, -1, 4, 4)
    batch = MultiBatch(Annotated(images, truth([])._replace(depth=depth)), Annotated(images[:0], truth([])))
    ours, theirs = SaysDepth(0), FrozenMulti(SaysDepth(1))
    return MultiNets(ours, theirs, method.init(ours, theirs, Sizes(len(seen), 0, CLASSES, 60))), batch
