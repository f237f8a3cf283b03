"""Learning Student-Friendly Teacher Networks for Knowledge Distillation. Park, Cha, Jeong, Kim, Han. NeurIPS 2021.
https://arxiv.org/abs/2102.07650

This is the first stage: a teacher that is easy to imitate. It is trained by tutelage.train.loop like any student, and
taught from by any method, which is the second stage; the branches are then left behind.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.distillation import kl_rows
from tutelage.methods.method import Method, check
from tutelage.models.backbone import Backbone, NetworkSpec, create
from tutelage.models.pairs import Adapter
from tutelage.models.tails import map_sizes, tail
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class SFTN(Method):
    """Learn with the rest of a student grafted on each of your stages: what it cannot use, unlearn.

    The network that a run calls its student is the teacher here. Weights are from memory of the paper, unchecked.
    """

    teacher = "self"
    pool = False
    student: NetworkSpec  # whose teacher this will be
    label: float = 1.0  # lambda_T, cross entropy of the teacher
    branch_label: float = 1.0  # lambda_CE, mean cross entropy of the branches
    branch: float = 3.0  # lambda_KL, mean divergence of the branches from the teacher
    temperature: float = 1.0  # of that divergence
    both_move: bool = True  # the divergence also moves the teacher to its branches, not only them to it

    def __post_init__(self) -> None:
        check(self, weights=("label", "branch_label", "branch"), positive=("temperature",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Branches(student, create(self.student, sizes.classes))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        outputs = nets.student(batch.labeled.strong)
        branches = nets.extra(outputs.features)
        apart = [
            kl_rows(said, outputs.logits, temperature=self.temperature, teacher_learns=self.both_move).mean()
            for said in branches
        ]
        told = [F.cross_entropy(said, labels) for said in branches]
        return {
            "task": self.label * F.cross_entropy(outputs.logits, labels),
            "branch_task": self.branch_label * torch.stack(told).mean(),
            "branches": self.branch * torch.stack(apart).mean(),
        }


class Branches(nn.Module):
    """Behind each stage of a teacher but the last: a 1 x 1 convolution, and what a student has behind that stage."""

    def __init__(self, teacher: Network, student: Network):
        super().__init__()
        if not isinstance(teacher, Backbone):
            raise BadInput(f"the teacher is a {type(teacher).__name__}: branches fit small_resnet and timm's networks")
        size = teacher.spec.image_size
        theirs, ours = map_sizes(teacher, size), map_sizes(student, size)
        if theirs != ours or len(theirs) < 2:
            raise BadInput(
                f"maps of the teacher measure {theirs} and of the student {ours} pixels: for branches they must be "
                "equal, and there must be two stages at least. Use small_resnet for both, of any width"
            )
        self.names = list(teacher.widths)[:-1]
        widths = zip(teacher.widths.values(), student.widths.values(), strict=True)
        self.adapters = nn.ModuleList([Adapter(wide, narrow) for wide, narrow in widths][:-1])
        self.tails = nn.ModuleList(tail(student, stage) for stage in range(1, len(ours)))

    def forward(self, features: dict[str, Tensor]) -> list[Float[Tensor, "n c"]]:
        """Logits of each branch, from the teacher's maps."""
        parts = zip(self.names, self.adapters, self.tails, strict=True)
        return [rest(adapter(features[name])).float() for name, adapter, rest in parts]
