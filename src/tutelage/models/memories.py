"""What branches remember of every image, to be told from each other.

Yang, An, Xu, Multi-view Contrastive Learning for Online Knowledge Distillation, ICASSP 2021.
https://arxiv.org/abs/2006.04093
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.models.peers import Branches
from tutelage.types import Network, Outputs


class Contrasted(nn.Module):
    """Branches beside a student's own, a linear map of each one's embedding to a unit vector, and what each remembers:
    `memories` [m, images, width], rows of length one, the student's last."""

    memories: Tensor

    def __init__(self, student: Network, shape: tuple[int, int], *, trunk: int, branches: int, momentum: float):
        super().__init__()
        self.branches, self.momentum = Branches(student, trunk=trunk, count=branches - 1), momentum
        self.maps = nn.ModuleList(nn.Linear(student.embedding_width, shape[1]) for _ in range(branches))
        start = torch.randn(branches, max(1, shape[0]), shape[1])  # no image is a memory that is never asked for
        self.register_buffer("memories", F.normalize(start, dim=-1))

    def forward(
        self, student: Outputs, ids: Int[Tensor, " u"], *, negatives: int
    ) -> tuple[list[Outputs], Float[Tensor, "m u width"], Float[Tensor, "m u k1 width"]]:
        """What the other branches say, what each sees of the last u images, and what each remembers of these, first,
        and of `negatives` others, drawn at random from torch's global state. Then what was seen is remembered."""
        others = self.branches(student.features)
        maps, last = zip(self.maps, [*others, student], strict=True), len(student.logits) - len(ids)
        seen = torch.stack([F.normalize(own(each.embedding[last:]).float(), dim=-1) for own, each in maps])
        drawn = torch.randint(self.memories.shape[1], (len(ids), negatives), device=ids.device)
        told = self.memories[:, torch.cat([ids[:, None], drawn], dim=1)]
        self._remember(seen, ids)
        return others, seen, told

    @torch.no_grad()
    def _remember(self, seen: Float[Tensor, "m u width"], ids: Int[Tensor, " u"]) -> None:
        before = self.memories[:, ids]
        after = F.normalize(self.momentum * before + (1 - self.momentum) * seen, dim=-1)
        self.memories[:, ids] = torch.where(after.isfinite(), after, before)  # one bad image would stay for ever
