"""Feature-map-level Online Adversarial Knowledge Distillation. Chung, Park, Kim, Kwak. ICML 2020.
https://arxiv.org/abs/2002.01775

Networks like the student stand in a ring, and each is taught by the one before it: its answers by soft labels, its
last map by a critic. Their maps have one width, so none needs a layer to be compared. The optimizers' numbers and the
form of the critics are from memory of the paper, unchecked.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.data.batches import to_float
from tutelage.losses.adversarial import critic_loss, verdict_loss
from tutelage.losses.peers import all_learn, each_kl
from tutelage.methods.method import check
from tutelage.models.average import average_into
from tutelage.models.critics import feature_critic
from tutelage.models.peers import Peers, logits_of
from tutelage.train.adversarial import Still
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import Batch, Losses, Network, Outputs


@dataclass(frozen=True, kw_only=True)
class AFD:
    """Answer as the network before you in a ring does, and see so that a critic takes your map for one of its."""

    __pydantic_config__ = {"extra": "forbid"}
    peers: int = 1  # networks beside the student; with one, both teach each other
    temperature: float = 3.0  # T of the soft labels
    adversarial_lr: float = 2e-5  # of Adam, for maps and for critics; falls as the student's own rate does
    adversarial_decay: float = 0.1  # weight decay of both
    critic_width: int = 64  # channels of a critic

    def __post_init__(self) -> None:
        positive = ("peers", "temperature", "adversarial_lr", "critic_width")
        check(self, weights=("adversarial_decay",), positive=positive)


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: Network
    peers: Peers
    average: Network  # moving average of the student: what is evaluated and kept
    critics: nn.ModuleList  # one a network, the student's first
    optimizer: torch.optim.Optimizer  # of answers
    map_optimizer: torch.optim.Optimizer  # of the same networks, for what their critics say
    critic_optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "peers", "average", "critics", "optimizer", "map_optimizer", "critic_optimizer")


def begin(method: AFD, student: Network, settings: Optimiser) -> Run:
    """A run at step 0, where the student lies. What is beside it is drawn from torch's global state."""
    device, channels = next(student.parameters()).device, list(student.widths.values())[-1]
    peers = Peers(student, method.peers).to(device)
    critics = nn.ModuleList(feature_critic(channels, width=method.critic_width) for _ in range(method.peers + 1))
    critics.to(device)
    average = copy.deepcopy(student).eval().requires_grad_(False)
    networks = [*student.parameters(), *peers.parameters()]
    of_maps, of_critics = (
        torch.optim.Adam(trained, lr=method.adversarial_lr, weight_decay=method.adversarial_decay)
        for trained in (networks, list(critics.parameters()))
    )
    return Run(student, peers, average, critics, sgd(networks, settings), of_maps, of_critics)


def fit(method: AFD, run: Run, batches: Iterable[Batch], settings: Optimiser, *, steps: int) -> Iterator[Step]:
    """Train all networks and critics from `run.step` on, on labelled images: a batch is seen twice, for a step on
    answers and then for one on maps and one of the critics. Raises Diverged where a loss is not finite."""
    device, stage = next(run.student.parameters()).device, list(run.student.widths)[-1]
    for batch in batches:
        labeled = to_float(batch.labeled, device)
        scale = schedule(run.step, steps, settings.warmup_steps)
        set_rate(run.optimizer, settings.lr * scale)
        for optimizer in (run.map_optimizer, run.critic_optimizer):
            set_rate(optimizer, method.adversarial_lr * scale)
        run.student.train()
        said = logits_of(_seen(run, labeled.strong))
        rows = each_kl(said, said.roll(1, 0), temperature=method.temperature)
        terms: Losses = {"task": all_learn(said, labeled.labels), "distillation": rows.mean(1).sum()}
        terms = descend(run.optimizer, terms, settings, step=run.step + 1)
        maps = [outputs.features[stage].float() for outputs in _seen(run, labeled.strong)]
        with Still(run.critics):
            terms |= descend(run.map_optimizer, {"fooling": fooling(run.critics, maps)}, settings, step=run.step + 1)
        judged = {"critics": judging(run.critics, [each.detach() for each in maps])}
        terms |= descend(run.critic_optimizer, judged, settings, step=run.step + 1)
        run.step += 1
        average_into(run.average, run.student, decay=settings.decay(run.step - 1))
        yield Step(run.step, terms)


def fooling(critics: nn.ModuleList, maps: Sequence[Float[Tensor, "n c h w"]]) -> Float[Tensor, ""]:
    """Sum over the networks of (1 - D_k(F_k))^2: each is judged by its own critic, which should find it real."""
    verdicts = [critic(own) for critic, own in zip(critics, maps, strict=True)]
    return torch.stack([verdict_loss(one, real=True, form="least_squares") for one in verdicts]).sum()


def judging(critics: nn.ModuleList, maps: Sequence[Float[Tensor, "n c h w"]]) -> Float[Tensor, ""]:
    """Sum over the networks of (1 - D_k(F_j))^2 + D_k(F_k)^2: to critic k real is the map of j, the one before in the
    ring, and its own network's is not."""
    before = [maps[-1], *maps[:-1]]
    trios = zip(critics, before, maps, strict=True)
    losses = [critic_loss(critic(real), critic(own), form="least_squares") for critic, real, own in trios]
    return 2 * torch.stack(losses).sum()


def _seen(run: Run, images: Float[Tensor, "n 3 h w"]) -> list[Outputs]:
    return [run.student(images), *run.peers(images)]
