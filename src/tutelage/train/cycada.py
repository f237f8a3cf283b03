"""CyCADA: Cycle-Consistent Adversarial Domain Adaptation. Hoffman, Tzeng, Park, Zhu, Isola, Saenko, Efros, Darrell.
ICML 2018. https://arxiv.org/abs/1711.03213

Three stages, as the authors run them: the image stage is tutelage.train.cyclegan with IMAGES; a network is trained on
what `translated` makes of the labelled source, by any method; the feature stage is `fit` here (their ADDA).
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.data.batch_views import Planned
from tutelage.data.batches import on_device
from tutelage.losses.adversarial import critic_accuracy, verdict_loss
from tutelage.methods.method import check
from tutelage.models.average import average_into
from tutelage.models.critics import map_critic, vector_critic
from tutelage.train.adversarial import Pair, Still, main_logits, train_critic
from tutelage.train.cyclegan import CycleGAN
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step
from tutelage.train.settings import Optimiser
from tutelage.types import Batch

IMAGES = CycleGAN(semantic=1.0, identity=0.0)  # the image stage


@dataclass(frozen=True, kw_only=True)
class CyCADA:
    """Answer on the target so that a critic takes it for the answer of the source's network on the source.

    The feature stage. The network on the source stays as it was; the other, a copy at first, moves only while the
    critic is right more often than `least`.
    """

    __pydantic_config__ = {"extra": "forbid"}
    lr: float = 1e-5  # of Adam for the network and the critic
    least: float = 0.6  # accuracy of the critic on the batch
    critic_width: int = 64  # channels of its first layer, on maps

    def __post_init__(self) -> None:
        check(self, positive=("lr", "critic_width"), shares=("least",))


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: nn.Module
    source: nn.Module  # as the stage before left it
    critic: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "source", "critic", "average", "optimizer", "critic_optimizer")


def begin(method: CyCADA, student: nn.Module, images: Float[Tensor, "n 3 h w"]) -> Run:
    """A run at step 0 from the network of the second stage. The critic fits what that answers on `images`."""
    source, average = (copy.deepcopy(student).eval().requires_grad_(False) for _ in range(2))
    with torch.no_grad():
        said = main_logits(source, images)
    wide = method.critic_width
    critic = map_critic(said.shape[1], width=wide) if said.ndim == 4 else vector_critic(said.shape[1])
    critic.to(images.device)
    ours, theirs = (torch.optim.Adam(net.parameters(), lr=method.lr) for net in (student, critic))
    return Run(student, source, critic, average, ours, theirs)


def fit(method: CyCADA, run: Run, seen: Iterable[Pair], settings: Optimiser) -> Iterator[Step]:
    """One step of the critic a pair and, where it is right more often than `least`, one of the student. The source
    comes translated, as the stage before saw it (eq. 6): adversarial.translated_pairs.

    The student is in eval mode, normalised as the stage before left it: its own batches are of the target alone. Of
    `settings` the clip and the average count. Raises Diverged where a loss is not finite.
    """
    for pair in seen:
        run.student.eval()
        with torch.no_grad():
            known = main_logits(run.source, pair.source)
        other = main_logits(run.student, pair.target)
        terms = {
            "critic": train_critic(
                run.critic, run.critic_optimizer, known, other, form="bce", settings=settings, step=run.step + 1
            )
        }
        with torch.no_grad():
            right = critic_accuracy(run.critic(known), run.critic(other))
        terms["fooling"] = torch.zeros_like(right)
        if right > method.least:
            with Still(run.critic):
                fooling = {"fooling": verdict_loss(run.critic(other), real=True, form="bce")}
                terms |= descend(run.optimizer, fooling, settings, step=run.step + 1)
        run.step += 1
        average_into(run.average, run.student, decay=settings.decay(run.step - 1))
        yield Step(run.step, terms)


def translated(batches: Iterable[Batch], generator: nn.Module, *, device: torch.device) -> Iterator[Batch]:
    """Batches whose labelled images a generator has made images of the target; for the second stage, by any method."""
    generator.eval()

    @torch.no_grad()
    def there(images: Tensor | Planned) -> Tensor:
        made: Tensor = generator(on_device(images, device))
        return made

    for batch in batches:
        labeled = batch.labeled._replace(weak=there(batch.labeled.weak), strong=there(batch.labeled.strong))
        yield batch._replace(labeled=labeled)
