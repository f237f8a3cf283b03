"""Small networks beside a student and its teacher that are dropped after training."""

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.types import Network


class Scorer(nn.Module):
    """How well each image answers each: scale x cosine + bias, so that a sigmoid of it can be sure of yes and of no."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))

    def forward(self, embedding: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
        unit = F.normalize(embedding.float())
        # Not a matrix product: autocast would take its digits, and embeddings are few and short.
        return self.scale * (unit[:, None] * unit).sum(-1) + self.bias


class Pretext(nn.Module):
    """Two-layer heads on the embeddings of a student and its teacher, each as wide as what it reads.

    The teacher's is trained, and there is a copy of it that no optimizer sees: after the last `freeze` neither momentum
    nor weight decay moves the copy.
    """

    def __init__(self, student: Network, teacher: Network):
        super().__init__()
        self.student, self.teacher = (_head(net.embedding_width) for net in (student, teacher))
        self.frozen = copy.deepcopy(self.teacher).requires_grad_(False)

    def forward(self, student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"]) -> tuple[Tensor, Tensor, Tensor]:
        """Of both embeddings: what the student's head says [n, s], the teacher's, and its copy [n, t]."""
        return self.student(student).float(), self.teacher(teacher).float(), self.frozen(teacher).float()

    def freeze(self) -> None:
        """From now on the copy says what the teacher's head says now."""
        self.frozen.load_state_dict(self.teacher.state_dict())


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
