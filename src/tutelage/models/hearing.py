"""Whom of several teachers a student hears, image by image."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.heads import Freezing
from tutelage.models.pairs import Adapters
from tutelage.types import Network


def instance_weights(
    seen: Float[Tensor, "n d"], factors: Float[Tensor, "m d"], direction: Float[Tensor, " d"]
) -> Float[Tensor, "n m"]:
    """softmax over teachers t of v (theta_t * a): what each counts for an image of which a student has seen `a`.

    `factors` are theta, a vector a teacher, and `direction` is v. Liu, Zhang, Wang, Adaptive Multi-Teacher Multi-level
    Knowledge Distillation, 2020. https://arxiv.org/abs/2103.04062
    """
    return (seen[:, None] * (factors * direction)).sum(-1).softmax(-1)


class Hearing(Freezing):
    """A vector for each teacher, a direction that all share, and what makes a student's maps comparable with theirs.

    Teacher number t is compared, at its middle stage, with the student's stage t, begun again where there are more
    teachers than stages. The vectors are frozen.
    """

    kept_factors: Tensor
    kept_direction: Tensor

    def __init__(self, student: Network, teachers: Sequence[Network]):
        super().__init__()
        self.last, stages = list(student.widths)[-1], list(student.widths)
        width = student.widths[self.last]
        self.factors, self.direction = nn.Parameter(torch.randn(len(teachers), width)), nn.Parameter(torch.randn(width))
        self.register_buffer("kept_factors", self.factors.detach().clone())
        self.register_buffer("kept_direction", self.direction.detach().clone())
        middles = [list(teacher.widths)[(len(teacher.widths) - 1) // 2] for teacher in teachers]
        self.adapters = nn.ModuleList(
            Adapters(student, teacher, [(stages[t % len(stages)], middle)])
            for t, (teacher, middle) in enumerate(zip(teachers, middles, strict=True))
        )

    def forward(
        self, student: dict[str, Tensor], teachers: list[dict[str, Tensor]]
    ) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"], list[tuple[Tensor, Tensor]], Float[Tensor, ""]]:
        """Of all networks' features: what each teacher counts, the same by the copy, pairs of maps, and the squared
        length of what is learned about teachers."""
        seen = student[self.last].float().amax((2, 3))
        pairs = [pair for net, maps in zip(self.adapters, teachers, strict=True) for pair in net(student, maps)]
        length = self.factors.square().sum() + self.direction.square().sum()
        return (
            instance_weights(seen, self.factors, self.direction),
            instance_weights(seen, self.kept_factors, self.kept_direction),
            pairs,
            length,
        )

    @torch.no_grad()
    def freeze(self) -> None:
        """From now on the copy is what the vectors are now."""
        self.kept_factors.copy_(self.factors)
        self.kept_direction.copy_(self.direction)
