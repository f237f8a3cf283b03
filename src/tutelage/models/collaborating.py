"""Branches that collaborate: each sees its own view, one head reads them all, and of each there is a moving average.

Wu, Gong, Peer Collaborative Learning for Online Knowledge Distillation, AAAI 2021. https://arxiv.org/abs/2006.04147
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.peers import Branches, behind, embeddings_of, logits_of
from tutelage.types import Network, Outputs


class Collaborating(nn.Module):
    """Branches beside a student's own, their averages, and a head on the embeddings of all. Of the images that the
    student and its average have seen the first half is one view, which the student's branch learns from, the second
    half the same images in another. Branches see them in turn."""

    def __init__(self, student: Network, classes: int, *, trunk: int, branches: int):
        super().__init__()
        self.branches = Branches(student, trunk=trunk, count=branches - 1)
        self.mean = copy.deepcopy(self.branches).requires_grad_(False)
        self.head = nn.Linear(branches * student.embedding_width, classes)

    def train(self, mode: bool = True) -> "Collaborating":
        super().train(mode)
        self.mean.eval()  # averaged statistics go with averaged weights
        return self

    def forward(
        self, student: Outputs, average: Outputs
    ) -> tuple[Float[Tensor, "m n c"], Float[Tensor, "n c"], Float[Tensor, "m n c"]]:
        """Logits of the branches, the student's first, of the head on all of them, and of the averages."""
        branches = self._each(self.branches, student)
        with torch.no_grad():
            averages = self._each(self.mean, average)
        ensemble = self.head(embeddings_of(branches).transpose(0, 1).flatten(1))
        return logits_of(branches), ensemble.float(), logits_of(averages)

    def _each(self, branches: Branches, outputs: Outputs) -> list[Outputs]:
        half = len(outputs.logits) // 2
        own = Outputs(outputs.logits[:half], outputs.embedding[:half], {})
        views = outputs.features[branches.stage].split(half)
        return [own, *(behind(rest, views[place % 2]) for place, rest in enumerate(branches.tails, start=1))]
