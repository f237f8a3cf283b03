"""Learning to Adapt Structured Output Space for Semantic Segmentation. Tsai, Hung, Schulter, Sohn, Yang, Chandraker.
CVPR 2018. https://arxiv.org/abs/1802.10349

For any network that answers with logits, of images [n c] or of pixels [n c h w], at one level or several.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.adversarial import Form, verdict_loss
from tutelage.methods.method import check
from tutelage.models.average import average_into
from tutelage.models.critics import map_critic, vector_critic
from tutelage.train.adversarial import Pair, Still, known_cross_entropy, train_critic
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Losses, Network


@dataclass(frozen=True, kw_only=True)
class AdaptSegNet:
    """Answer on the target so that a critic takes it for an answer on the source.

    Weights are those of the paper, for maps; there a level is a map of many pixels, so vectors may want larger ones.
    """

    __pydantic_config__ = {"extra": "forbid"}
    adversarial: float = 0.001  # lambda_adv of the main level; 0.01 with least squares
    second: float = 0.0002  # lambda_adv of every further level
    auxiliary: float = 0.1  # lambda_seg of every further level
    pseudo: float = 1.0  # weight of cross entropy on the target's pseudo-labels, where a round before gave some
    form: Form = "bce"  # or "least_squares"
    critic_lr: float = 1e-4  # of Adam, betas 0.9 and 0.99
    critic_width: int = 64  # channels of its first layer, on maps

    def __post_init__(self) -> None:
        check(self, weights=("adversarial", "second", "auxiliary", "pseudo"), positive=("critic_lr", "critic_width"))


class Levels(nn.Module):
    """A classifier as such a network: its logits and, with `stage`, those of a linear head on that stage's mean."""

    def __init__(self, network: Network, stage: str | None = None):
        super().__init__()
        if stage is not None and stage not in network.widths:
            raise BadInput(f"stage is {stage!r}, and the network has {', '.join(network.widths)}. Name one, or none")
        self.network, self.stage = network, stage
        self.head: nn.Module = nn.Identity()
        if stage is not None:
            head = nn.Linear(network.widths[stage], _classes(network))
            self.head = head.to(next(network.parameters()).device)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c"], ...]:
        outputs = self.network(images)
        if self.stage is None:
            return (outputs.logits,)
        return outputs.logits, self.head(outputs.features[self.stage].float().mean((2, 3)))


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: nn.Module  # images -> logits of each level, the main one first
    average: nn.Module  # moving average of the student: what is evaluated and kept
    critics: nn.ModuleList  # one a level
    optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "average", "critics", "optimizer", "critic_optimizer")


def begin(method: AdaptSegNet, student: nn.Module, images: Float[Tensor, "n 3 h w"], settings: Optimiser) -> Run:
    """A run at step 0. Critics fit what `student` answers on `images`: maps by convolutions, vectors by layers."""
    training = student.training
    with torch.no_grad():
        said = student.eval()(images)
    student.train(training)
    wide = method.critic_width
    judges = [map_critic(x.shape[1], width=wide) if x.ndim == 4 else vector_critic(x.shape[1]) for x in said]
    critics = nn.ModuleList(judges)
    critics.to(images.device)
    average = copy.deepcopy(student).eval().requires_grad_(False)
    theirs = torch.optim.Adam(critics.parameters(), lr=method.critic_lr, betas=(0.9, 0.99))
    return Run(student, average, critics, sgd(list(student.parameters()), settings), theirs)


def fit(method: AdaptSegNet, run: Run, seen: Iterable[Pair], settings: Optimiser, *, steps: int) -> Iterator[Step]:
    """Train student and critics from `run.step` on, one step of each a pair. Diverged where a loss is not finite."""
    for pair in seen:
        scale = schedule(run.step, steps, settings.warmup_steps)
        set_rate(run.optimizer, settings.lr * scale)
        set_rate(run.critic_optimizer, method.critic_lr * scale)
        run.student.train()
        levels = run.student(torch.cat([pair.source, pair.target]))  # batch norm over both
        known, other = zip(*(level.split([len(pair.source), len(pair.target)]) for level in levels), strict=True)
        with Still(run.critics):
            terms = descend(run.optimizer, _terms(method, run.critics, known, other, pair), settings, step=run.step + 1)
        for number, critic in enumerate(run.critics):
            terms[f"critic_{number}"] = train_critic(
                critic, run.critic_optimizer, known[number].softmax(1), other[number].softmax(1), form=method.form,
                settings=settings, step=run.step + 1,
            )  # fmt: skip
        run.step += 1
        average_into(run.average, run.student, decay=settings.decay(run.step - 1))
        yield Step(run.step, terms)


def _terms(
    method: AdaptSegNet, critics: nn.ModuleList, known: tuple[Tensor, ...], other: tuple[Tensor, ...], pair: Pair
) -> Losses:
    terms = {}
    for number, (critic, source, target) in enumerate(zip(critics, known, other, strict=True)):
        labels, fooling = (1.0, method.adversarial) if number == 0 else (method.auxiliary, method.second)
        end = f"_{number}" if number else ""
        terms[f"task{end}"] = labels * known_cross_entropy(source, pair.labels)
        terms[f"fooling{end}"] = fooling * verdict_loss(critic(target.softmax(1)), real=True, form=method.form)
        terms[f"pseudo{end}"] = labels * method.pseudo * known_cross_entropy(target, pair.pseudo)
    return terms


def _classes(network: Network) -> int:
    """How many a classifier answers with; it is asked about a black image, and nothing of it moves."""
    training = network.training
    network.eval()
    size = getattr(getattr(network, "spec", None), "image_size", 32)
    with torch.no_grad():
        black = torch.zeros(1, 3, size, size, device=next(network.parameters()).device)
        classes = network(black).logits.shape[1]
    network.train(training)
    return classes
