"""Attention-based Feature Interaction for Efficient Online Knowledge Distillation. Su, Liang, Zhang, Yu,
Wang, Liu. ICDM 2021. https://doi.org/10.1109/ICDM51629.2021.00069. Its attention is that of Woo, Park, Lee, Kweon,
CBAM, ECCV 2018. https://arxiv.org/abs/1807.06521"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.peers import fused_terms
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.methods.method import Method, Paced, check, transfer_set
from tutelage.models.interacting import Interacting
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class AFID(Method):
    """As `ffl` learn beside a peer, and on the way look where it looks: both are one network, which is what is kept.

    The student is an `interacting_resnet` and answers by the classifier on both; the two that teach it and that it
    teaches are left behind. One optimizer moves everything; the authors decay weights by 2e-4.
    """

    teacher = "self"
    only = "interacting_resnet"
    temperature: float = 3.0  # T of all
    ramp: float = 0.27  # share of the run over which the divergences grow; the authors: 80 of 300 epochs
    unsupervised: float = 1.0  # what a pool image counts in the divergences, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("ramp",), weights=("unsupervised",), positive=("temperature",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Paced(OwnHeads(student, sizes.classes), sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, trust = transfer_set(batch, self.unsupervised)
        pair = nets.student(images)
        said, progress = nets.extra(pair.features)
        scale, labels = sigmoid_ramp(progress, over=self.ramp), batch.labeled.labels
        return fused_terms(said, pair.logits, labels=labels, trust=trust, scale=scale, temperature=self.temperature)


class OwnHeads(nn.Module):
    """A classifier for each of the two networks. Raises BadInput where the student is not made of two."""

    def __init__(self, student: Network, classes: int):
        super().__init__()
        if not isinstance(getattr(student, "net", None), Interacting):
            raise BadInput(
                "afid trains two networks that answer as one, and this is another network. Set network.name to "
                "interacting_resnet"
            )
        self.stage, wide = list(student.widths.items())[-1]
        self.heads = nn.ModuleList(nn.Linear(wide // 2, classes) for _ in range(2))

    def forward(self, features: dict[str, Tensor]) -> Float[Tensor, "m n c"]:
        """What each network says, from the last maps of both."""
        halves = features[self.stage].mean((2, 3)).chunk(2, dim=1)
        return torch.stack([head(half) for head, half in zip(self.heads, halves, strict=True)]).float()
