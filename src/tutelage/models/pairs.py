"""Which stage of a student learns from which stage of a teacher, and what makes two maps comparable."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import BadInput, Network


def stage_pairs(student: Network, teacher: Network, named: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Pairs of stages (student's, teacher's), finest first.

    `named` pairs are written "stage2:stage3". Without any, the last stages belong together, and the shorter network's
    others are spread evenly over the longer one's: both ends of both networks are then used.
    """
    if named:
        return [_named(pair, student, teacher) for pair in named]
    ours, theirs = list(student.widths), list(teacher.widths)
    count = min(len(ours), len(theirs))
    return [(ours[_spread(i, count, len(ours))], theirs[_spread(i, count, len(theirs))]) for i in range(count)]


def _spread(place: int, count: int, stages: int) -> int:
    return (place + 1) * stages // count - 1


def _named(pair: str, student: Network, teacher: Network) -> tuple[str, str]:
    ours, _, theirs = pair.partition(":")
    for name, net, whose in ((ours, student, "student"), (theirs, teacher, "teacher")):
        if name not in net.widths:
            raise BadInput(
                f"layers names {pair!r}, but {name!r} is no stage of the {whose}, which has {', '.join(net.widths)}. "
                'Write pairs as "stage2:stage3", the student\'s first, or leave layers out: they are then found'
            )
    return ours, theirs


class Adapter(nn.Module):
    """Student maps [n, c, h, w] brought to the teacher's channels by a 1 x 1 convolution and batch norm."""

    def __init__(self, channels: int, wanted: int):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels, wanted, 1, bias=False), nn.BatchNorm2d(wanted))

    def forward(self, maps: Tensor) -> Float[Tensor, "n wanted h w"]:
        return self.net(maps).float()  # type: ignore[no-any-return]


class Adapters(nn.Module):
    """Maps of pairs of stages made comparable: the student's at the teacher's channels, both at the smaller size.

    `adapt` "unequal" leaves a map that has the teacher's channels as it is, "none" all: then only the sizes meet.
    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        pairs: list[tuple[str, str]],
        *,
        adapt: Literal["all", "unequal", "none"] = "all",
    ):
        super().__init__()
        self.pairs = pairs
        self.nets = nn.ModuleList()
        for one, other in ((student.widths[ours], teacher.widths[theirs]) for ours, theirs in pairs):
            as_it_is = adapt == "none" or (adapt == "unequal" and one == other)
            self.nets.append(nn.Identity() if as_it_is else Adapter(one, other))

    def forward(self, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Of both networks' features, (student's, teacher's) for each pair, [n, c, h, w] both."""
        nets = zip(self.nets, self.pairs, strict=True)
        return [same_size(net(student[ours]), teacher[theirs]) for net, (ours, theirs) in nets]


class Projection(nn.Module):
    """Student embeddings [n, d] brought to the teacher's width by a linear map; equal widths need none."""

    def __init__(self, student: Network, teacher: Network):
        super().__init__()
        ours, theirs = student.embedding_width, teacher.embedding_width
        self.net = nn.Identity() if ours == theirs else nn.Linear(ours, theirs, bias=False)

    def forward(self, embedding: Tensor) -> Float[Tensor, "n wanted"]:
        return self.net(embedding).float()  # type: ignore[no-any-return]


def same_size(
    one: Float[Tensor, "n _ _ _"], other: Float[Tensor, "n _ _ _"]
) -> tuple[Float[Tensor, "n _ h w"], Float[Tensor, "n _ h w"]]:
    """Both maps at the smaller of their heights and widths, by averaging: no position is made up."""
    size = _smaller_size(one, other)
    return _at(one, size), _at(other, size)


def pooled_to_smaller(one: Tensor, other: Tensor, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Both maps [n, _, h, w] at the smaller size as in `same_size`, or by the largest value of each area."""
    if not largest or one.shape[-2:] == other.shape[-2:]:
        return same_size(one, other)
    size = _smaller_size(one, other)
    return F.adaptive_max_pool2d(one, size).float(), F.adaptive_max_pool2d(other, size).float()


def _smaller_size(one: Tensor, other: Tensor) -> tuple[int, int]:
    return min(one.shape[-2], other.shape[-2]), min(one.shape[-1], other.shape[-1])


def _at(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return (maps if maps.shape[-2:] == size else F.adaptive_avg_pool2d(maps, size)).float()
