"""Small networks beside a student and its teacher that are dropped after training."""

import copy
from abc import ABC, abstractmethod

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


class Freezing(nn.Module, ABC):
    """What trains a part for a while and has a copy of it that no optimizer sees: after the last `freeze` neither
    momentum nor weight decay moves the copy."""

    @abstractmethod
    def freeze(self) -> None:
        """From now on the copy is what the part is now."""


class Pretext(Freezing):
    """Two-layer heads on the embeddings of a student and its teacher, each as wide as what it reads.

    The teacher's is trained, and frozen.
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


class Widener(nn.Module):
    """Tokens of a student at its teacher's width: one linear map for the embeddings, one for all blocks (TinyBERT)."""

    def __init__(self, student: int, teacher: int):
        super().__init__()
        self.embeddings, self.blocks = nn.Linear(student, teacher), nn.Linear(student, teacher)

    def forward(self, hidden: tuple[Float[Tensor, "n l s"], ...]) -> list[Float[Tensor, "n l t"]]:
        """Of the embeddings and then of each block."""
        return [(self.blocks if place else self.embeddings)(one).float() for place, one in enumerate(hidden)]


class PatchWords(nn.Module):
    """What word each patch is, said by a linear head on the tokens of a student and one on its teacher's."""

    def __init__(self, student: int, teacher: int, words: int):
        super().__init__()
        self.student, self.teacher = nn.Linear(student, words), nn.Linear(teacher, words)

    def forward(
        self, student: Float[Tensor, "n l s"], teacher: Float[Tensor, "n l t"]
    ) -> tuple[Float[Tensor, "n l v"], Float[Tensor, "n l v"]]:
        return self.student(student).float(), self.teacher(teacher).float()


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
