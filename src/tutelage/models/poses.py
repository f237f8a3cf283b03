"""Networks that find key points: a trunk, and hourglasses on it that answer with heat-maps."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.backbone import NetworkSpec, normalisation, small_resnet
from tutelage.models.files import read_net, write_weights
from tutelage.types import BadInput

_TASK = "key points"


@dataclass(frozen=True, kw_only=True)
class PoseSpec:
    """What such a network is made from. A heat-map has a cell for each two pixels."""

    __pydantic_config__ = {"extra": "forbid"}
    width: int = 16  # channels of the trunk and of the hourglasses, a multiple of 8
    depth: int = 2  # times that an hourglass halves its maps
    image_size: int = 28  # pixels

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8 or self.depth < 1 or self.image_size < 4 * 2**self.depth:
            raise BadInput(
                f"{self}: width is a multiple of 8, depth 1 or more, and image_size at least 4 x 2^depth pixels"
            )


class Hourglass(nn.Module):
    """Maps that are halved, looked at and enlarged again, beside a path that keeps their size.

    Newell, Yang, Deng, Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016, with one convolution
    for each residual module. https://arxiv.org/abs/1603.06937
    """

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.skip, self.down, self.up = conv(width), conv(width, stride=2), conv(width)
        self.inner = Hourglass(width, depth - 1) if depth > 1 else conv(width)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        low = self.up(self.inner(self.down(maps)))
        return self.skip(maps) + F.interpolate(low, size=maps.shape[-2:])  # type: ignore[no-any-return]


class PoseNet(nn.Module):
    """A trunk and one branch: heat-maps [n, j, s / 2, s / 2] of images in 0..1, which it normalises itself."""

    def __init__(self, spec: PoseSpec, joints: Sequence[str]):
        super().__init__()
        self.spec, self.joints = spec, list(joints)
        net: Any = small_resnet(spec.width, 0)
        self.trunk = nn.Sequential(net.stem, net.stages[0])
        self.branch = branch(spec, len(joints))
        mean, std = normalisation(NetworkSpec())
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def seen(self, images: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n c h w"]:
        """What the trunk makes of images, for further branches to read."""
        return self.trunk((images - self.mean) / self.std)  # type: ignore[no-any-return]

    def forward(self, images: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n j h w"]:
        return self.branch(self.seen(images)).float()  # type: ignore[no-any-return]


class Aggregation(nn.Module):
    """What each branch counts for each point of an image: the Feature Aggregation Unit of Li et al., ICCV 2021.
    https://arxiv.org/abs/2108.02092

    A branch stands for a kernel, 3, 5, 7, ...; the answers of all convolutions are summed and their mean over positions
    narrowed to a quarter.
    """

    def __init__(self, width: int, *, branches: int, joints: int):
        super().__init__()
        self.convs = nn.ModuleList(conv(width, kernel=2 * place + 3) for place in range(branches))
        self.narrow = nn.Linear(width, width // 4)
        self.heads = nn.ModuleList(nn.Linear(width // 4, joints) for _ in range(branches))

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n b j"]:
        """Weights of sum 1 over the branches."""
        pooled = torch.stack([conv(maps) for conv in self.convs]).sum(0).mean((2, 3))
        narrow = self.narrow(pooled)
        return torch.stack([head(narrow) for head in self.heads], dim=1).float().softmax(1)


class Ensemble(nn.Module):
    """Branches beside a network's own, and the mixture of what all say."""

    def __init__(self, student: PoseNet, branches: int):
        super().__init__()
        spec, joints = student.spec, len(student.joints)
        self.branches = nn.ModuleList(branch(spec, joints) for _ in range(branches - 1))
        self.weights = Aggregation(spec.width, branches=branches, joints=joints)

    def forward(
        self, maps: Float[Tensor, "n c h w"], own: Float[Tensor, "n j h w"]
    ) -> tuple[Float[Tensor, "b n j h w"], Float[Tensor, "n j h w"]]:
        """From the trunk's maps and the student's answer: what all branches say, the student's first, and together."""
        said = torch.stack([own, *(each(maps).float() for each in self.branches)])
        return said, (self.weights(maps).transpose(0, 1)[..., None, None] * said).sum(0)


def branch(spec: PoseSpec, joints: int) -> nn.Module:
    """From the trunk's maps to heat-maps."""
    return nn.Sequential(Hourglass(spec.width, spec.depth), nn.Conv2d(spec.width, joints, 1))


def conv(width: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    """A convolution that keeps the width, batch norm and ReLU."""
    layer = nn.Conv2d(width, width, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())


def save_poses(path: Path, net: PoseNet, *, method: str) -> None:
    """As files.save_model."""
    write_weights(path, net, {"task": _TASK, "spec": asdict(net.spec), "joints": net.joints, "method": method})


def load_poses(path: Path) -> PoseNet:
    """The network in eval mode. Raises BadInput for anything but a file that save_poses wrote."""
    return read_net(path, _TASK, lambda about: PoseNet(PoseSpec(**about["spec"]), about["joints"]))[0]
