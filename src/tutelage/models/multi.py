"""One timm backbone and feature pyramid with a head a task: the student of multi-task self-training, or a teacher.

Ghiasi et al. Multi-Task Self-Training for Learning General Representations. ICCV 2021. https://arxiv.org/abs/2108.11353
"""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.models.fcos import Fcos
from tutelage.models.layout import layout
from tutelage.models.multi_spec import MultiSpec
from tutelage.models.pyramids import Pyramid, group_norm
from tutelage.multi_types import Answers, Multi, MultiOutputs
from tutelage.types import TASKS, Task

Maps = dict[str, Float[Tensor, "n _ _ _"]]


class MultiNet(Multi):
    """Heads have no batch norm, so an image that a head is not asked about cannot move it in any way."""

    def __init__(self, spec: MultiSpec, classes: int, *, download: bool = True):
        super().__init__()
        self.spec, self.classes, self.tasks = spec, classes, spec.tasks
        shared = spec.detector
        self.body = Pyramid(
            shared.network, strides=shared.levels, channels=shared.channels, download=download and shared.pretrained
        )
        self.widths = self.body.widths
        self.heads = nn.ModuleDict({task: _head(task, spec, classes) for task in spec.tasks})
        self.to(memory_format=layout(self))

    def forward(
        self, images: Float[Tensor, "n 3 h w"], rows: Mapping[Task, Int[Tensor, " _"]] | None = None
    ) -> MultiOutputs:
        maps: Maps = self.body(images)
        size = images.shape[-1]

        def of(task: Task) -> Maps | None:
            """What the head is to look at."""
            if task not in self.heads:
                return None
            if rows is None:
                return maps
            own = rows.get(task)
            return None if own is None or not len(own) else {name: m[own] for name, m in maps.items()}

        present, objects, segments, depth = (of(task) for task in TASKS)
        return MultiOutputs(
            maps,
            None if present is None else self.heads["classification"](present).float(),
            None if objects is None else self._detector.everywhere(objects),
            None if segments is None else self.heads["segmentation"](segments, size).float(),
            None if depth is None else self.heads["depth"](depth, size).float()[:, 0],
        )

    @torch.no_grad()
    def answers(self, images: Float[Tensor, "n 3 h w"]) -> Answers:
        said = self(images)
        size = (images.shape[-2], images.shape[-1])
        return Answers(
            None if said.classification is None else said.classification.sigmoid(),
            None if said.detection is None else self._detector.answers(*said.detection, size),
            None if said.segmentation is None else said.segmentation.softmax(1),
            None if said.depth is None else said.depth.exp(),
        )

    @property
    def _detector(self) -> Fcos:
        return cast(Fcos, self.heads["detection"])


class DenseHead(nn.Module):
    """A 3 x 3 convolution, group norm and ReLU on every level, brought to the finest one's size and added; then 1 x 1.

    Kirillov et al. Panoptic Feature Pyramid Networks. CVPR 2019, sec. 3.1, with one convolution a level.
    https://arxiv.org/abs/1901.02446
    """

    def __init__(self, levels: int, channels: int, width: int, out: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), group_norm(width), nn.ReLU()) for _ in range(levels)
        )
        self.last = nn.Conv2d(width, out, 1)

    def forward(self, maps: Maps, size: int) -> Float[Tensor, "n o s s"]:
        """Answers for every pixel of images of `size`."""
        finest = next(iter(maps.values())).shape[-2:]
        each = [_resized(conv(m), finest[0]) for conv, m in zip(self.convs, maps.values(), strict=True)]
        return _resized(self.last(torch.stack(each).sum(0)), size)


class PresenceHead(nn.Module):
    """A linear layer on the strongest answer of each channel at any place of each level.

    An object is a small part of an image, and a mean over all places is about the rest. Oquab et al. Is object
    localization for free? CVPR 2015, sec. 3.2. https://doi.org/10.1109/CVPR.2015.7298668
    """

    def __init__(self, levels: int, channels: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(levels * channels, classes)

    def forward(self, maps: Maps) -> Float[Tensor, "n c"]:
        logits: Tensor = self.linear(torch.cat([m.amax((2, 3)) for m in maps.values()], dim=1))
        return logits


def _head(task: Task, spec: MultiSpec, classes: int) -> nn.Module:
    levels, channels = len(spec.detector.levels), spec.detector.channels
    match task:
        case "classification":
            return PresenceHead(levels, channels, classes)
        case "detection":
            return Fcos(spec.detector, classes, download=False, body=False)
        case "segmentation":
            return DenseHead(levels, channels, spec.dense_width, classes + 1)
        case "depth":
            return DenseHead(levels, channels, spec.dense_width, 1)


def _resized(maps: Float[Tensor, "n c _ _"], size: int) -> Float[Tensor, "n c s s"]:
    return maps if maps.shape[-1] == size else F.interpolate(maps, size=(size, size), mode="bilinear")
