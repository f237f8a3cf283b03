"""Knowledge Distillation by On-the-Fly Native Ensemble. Lan, Zhu, Gong. NeurIPS 2018.
https://arxiv.org/abs/1806.04606"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.peers import all_learn, each_kl, mixture
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, Paced, check, transfer_set
from tutelage.models.peers import Branches, logits_of
from tutelage.types import Batch, Losses, Nets, Network, Outputs, Sizes


@dataclass(frozen=True, kw_only=True)
class ONE(Method):
    """Grow branches on your own trunk, let a gate weigh what they say of each image, and learn from the mixture.

    The student is the first branch. Weights are the paper's: 1 for each term.
    """

    teacher = "self"
    branches: int = 3  # m, the student's own among them
    trunk: int = 2  # stages that all branches share; small_resnet has three
    temperature: float = 3.0  # T of all
    ramp: float = 0.27  # share of the run over which the divergence grows; the authors: 80 of 300 epochs
    unsupervised: float = 1.0  # what a pool image counts in the divergence, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("ramp",), weights=("unsupervised",), positive=("branches", "trunk", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Paced(Gated(student, trunk=self.trunk, branches=self.branches), sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        outputs = nets.student(images)
        (others, gates), progress = nets.extra(outputs.features)
        said = logits_of([outputs, *others])
        ensemble = mixture(gates, said)
        rows = each_kl(said, ensemble, temperature=self.temperature)
        return {
            "task": all_learn(said, labels),
            "ensemble": F.cross_entropy(ensemble[: len(labels)], labels),
            "distillation": sigmoid_ramp(progress, over=self.ramp) * weighted_mean(rows.sum(0), trust),
        }


class Gated(nn.Module):
    """Branches beside the student's own, and how much each of all counts for an image."""

    def __init__(self, student: Network, *, trunk: int, branches: int):
        super().__init__()
        self.branches = Branches(student, trunk=trunk, count=branches - 1)
        width = student.widths[self.branches.stage]
        self.gate = nn.Sequential(nn.Linear(width, branches, bias=False), nn.BatchNorm1d(branches), nn.ReLU())

    def forward(self, features: dict[str, Tensor]) -> tuple[list[Outputs], Float[Tensor, "n m"]]:
        """From the student's maps: what the other branches say, and weights of sum 1, the student's first."""
        seen = features[self.branches.stage].mean((2, 3))
        return self.branches(features), self.gate(seen).float().softmax(-1)
