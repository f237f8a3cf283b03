"""The network of most tests."""

import torch
from torch import nn

from tutelage.models.average import Frozen
from tutelage.models.backbone import Backbone, NetworkSpec, create
from tutelage.types import Batch, Labeled, Nets, Network, Outputs, Sizes, Unlabeled

EMPTY = "some networks, ViT for one, cannot take an empty batch: ask about all of `transfer_set`, or through `answers`"


class Tiny(Network):
    """The smallest network that answers like a real one: two stages, batch norm, 8x8 images, three classes."""

    def __init__(self, width: int):
        super().__init__()
        self.widths, self.embedding_width = {"stage1": width, "stage2": 2 * width}, 2 * width
        self.stage1 = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(2 * width, 3)

    def forward(self, images):
        assert len(images), EMPTY
        stage1 = self.stage1(4 * images - 2)
        stage2 = self.stage2(stage1)
        embedding = stage2.mean((2, 3))
        return Outputs(self.head(embedding).float(), embedding.float(), {"stage1": stage1, "stage2": stage2})


class Pixels(nn.Module):
    """The smallest that names pixels, at one level, as adversarial adaptation takes it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return (self.layer(images),)


def tiny_vit(blocks, *, width=8, image_size=8):
    """A vision transformer: four patches and a class token of an image of 8 pixels, three classes."""
    net = create(NetworkSpec(name=f"small_vit_{blocks}", width=width, image_size=image_size), 3)
    for block in net.net.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.5)  # as it is drawn, every token looks everywhere alike
    return net


def cuttable(width: int, *, name: str = "small_resnet") -> Backbone:
    """The smallest network that branches can grow from, or one of that name: 8x8 images, three classes."""
    return create(NetworkSpec(name=name, width=width, image_size=8), 3)


def interacting(width: int) -> Backbone:
    """Two of those that answer as one."""
    return cuttable(width, name="interacting_resnet")


def watched(wanted, student, given, frozen):
    """The teacher that a method names, made by `frozen` unless it is the student itself."""
    return student if wanted == "self" else frozen({"given": given, "copy": student}[wanted])


def nets_of(method, student, teacher, *, steps=60):
    """Of three classes, at rest."""
    return Nets(student.eval(), Frozen(teacher), method.init(student, teacher, Sizes(6, 8, 3, steps)))


def make_batch(*, labeled: int, unlabeled: int) -> Batch:
    def views(n):
        weak = torch.rand(n, 3, 8, 8)
        return weak, (weak + 0.2 * torch.rand_like(weak)).clamp(max=1)

    keep = torch.arange(unlabeled) % 2 == 0
    target = (2 * torch.randn(unlabeled, 3)).softmax(-1) * keep[:, None]
    return Batch(
        Labeled(*views(labeled), torch.arange(labeled) % 3),
        Unlabeled(*views(unlabeled), torch.arange(unlabeled), target, keep.float()),
    )


def bright(n: int) -> Labeled:
    """Images as bright as their class, of three."""
    labels = torch.arange(n) % 3
    images = (labels / 3)[:, None, None, None] + 0.1 * torch.rand(n, 3, 8, 8)
    return Labeled(images, images, labels)
