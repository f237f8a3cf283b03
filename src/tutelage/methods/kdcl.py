"""Online Knowledge Distillation via Collaborative Learning. Guo, Wang, Wu, Yu, Liang, Hu, Luo. CVPR 2020.
https://doi.org/10.1109/CVPR42600.2020.01103"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.losses.peers import Target, all_learn, best_target, each_kl
from tutelage.losses.targets import mean_or_zero
from tutelage.methods.method import Method, check
from tutelage.models.peers import Peers
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class KDCL(Method):
    """Learn together with networks like you, each from its own view, what the best of all of you would say.

    The student sees the strong view, the next network the weak one, and so on in turn. "general" takes the errors of
    the batch that is about to be learned, for a method sees no validation images; the paper measures them there.
    """

    teacher = "self"
    pool = False  # what is best is only known with a label
    peers: int = 1  # networks beside the student
    target: Target = "min_logit"  # what is best, sec. 3.2
    weight: float = 1.0  # lambda of the divergence; from memory, unchecked
    temperature: float = 2.0  # T of all; from memory, unchecked
    decay: float = 0.99  # general only: of the errors' covariance

    def __post_init__(self) -> None:
        check(self, shares=("decay",), weights=("weight",), positive=("peers", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Cohort(Peers(student, self.peers), decay=self.decay)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        weak, strong, labels = batch.labeled
        said, covariance = nets.extra(nets.student(strong).logits, weak, strong, labels)
        told = best_target(said.detach(), labels, self.target, covariance=covariance)
        rows = each_kl(said, told, temperature=self.temperature)
        return {"task": all_learn(said, labels), "distillation": self.weight * mean_or_zero(rows.sum(0))}


class Cohort(nn.Module):
    """Networks beside a student, and the covariance of the errors of all, [m, m]; at first each errs on its own."""

    covariance: Tensor

    def __init__(self, peers: Peers, *, decay: float):
        super().__init__()
        self.peers, self.decay = peers, decay
        self.register_buffer("covariance", torch.eye(len(peers.nets) + 1))

    def forward(
        self, student: Float[Tensor, "n c"], weak: Tensor, strong: Tensor, labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m n c"], Float[Tensor, "m m"]]:
        """Logits of all, the student's first, and the covariance before these."""
        said = torch.stack([student, *(net(strong if i % 2 else weak).logits for i, net in enumerate(self.peers.nets))])
        before = self.covariance.clone()
        errors = (said.detach().softmax(-1) - F.one_hot(labels, said.shape[-1])).flatten(1)
        self.covariance.lerp_((errors[:, None] * errors).mean(-1), 1 - self.decay)
        return said, before
