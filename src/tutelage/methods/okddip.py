"""Online Knowledge Distillation with Diverse Peers. Chen, Mei, Wang, Feng, Chen. AAAI 2020.
https://arxiv.org/abs/1912.00350"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.peers import all_learn, each_kl
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, Paced, check, transfer_set
from tutelage.models.peers import Branches, embeddings_of, logits_of
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class OKDDip(Method):
    """Let peers learn each from its own mixture of all of them, so that they stay diverse; lead by their mean.

    The student is the group leader, the peers are branches of its trunk. As in the authors' code gradients reach what
    is learned from, and so the attention.
    """

    teacher = "self"
    peers: int = 3  # m - 1, branches beside the leader's own
    trunk: int = 2  # stages that all share; small_resnet has three
    temperature: float = 3.0  # T of all
    ramp: float = 0.27  # share of the run over which the divergences grow; the authors: 80 of 300 epochs
    unsupervised: float = 1.0  # what a pool image counts in the divergences, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("ramp",), weights=("unsupervised",), positive=("peers", "trunk", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Paced(Attentive(student, trunk=self.trunk, peers=self.peers), sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        leader = nets.student(images)
        (said, attention), progress = nets.extra(leader.features)
        scale = sigmoid_ramp(progress, over=self.ramp)
        told = (attention[..., None] * said).sum(1)  # [m - 1, n, c], of each peer
        apart = each_kl(said, told, temperature=self.temperature, told_learns=True).sum(0)
        led = each_kl(leader.logits[None], said.mean(0), temperature=self.temperature, told_learns=True)[0]
        return {
            "task": all_learn(said, labels) + all_learn(leader.logits[None], labels),
            "peers": scale * weighted_mean(apart, trust),
            "leader": scale * weighted_mean(led, trust),
        }


class Attentive(nn.Module):
    """Peers on the leader's trunk, and how much each of them listens to each, itself included."""

    def __init__(self, student: Network, *, trunk: int, peers: int):
        super().__init__()
        self.branches = Branches(student, trunk=trunk, count=peers)
        width = student.embedding_width
        self.query, self.key = (nn.Linear(width, max(1, width // 8), bias=False) for _ in range(2))

    def forward(self, features: dict[str, Tensor]) -> tuple[Float[Tensor, "p n c"], Float[Tensor, "p p n"]]:
        """From the leader's maps: logits of the peers, and weights whose sum over the second axis is 1."""
        peers = self.branches(features)
        seen = embeddings_of(peers)
        asked, offered = self.query(seen).float(), self.key(seen).float()
        return logits_of(peers), (asked[:, None] * offered).sum(-1).softmax(1)
