"""Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks. Zhu, Park, Isola, Efros. ICCV 2017.
https://arxiv.org/abs/1703.10593

With what CyCADA and BDL add so that a translated image keeps its meaning: a network of the source is asked before and
after. Weights of these are theirs; the critics and generators are small, for images of 28 or 32 pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.adversarial import Form, verdict_loss
from tutelage.methods.method import check
from tutelage.models.average import Frozen
from tutelage.models.critics import patch_critic
from tutelage.models.translators import History, Translator
from tutelage.train.adversarial import Pair, Still, main_logits, train_critic
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, set_rate
from tutelage.train.settings import Optimiser
from tutelage.types import Losses


@dataclass(frozen=True, kw_only=True)
class CycleGAN:
    """Make of each source image one of the target and back, and the other way round, so that critics believe it."""

    __pydantic_config__ = {"extra": "forbid"}
    cycle: float = 10.0  # lambda of the images that went there and back
    identity: float = 5.0  # of images that are already there; 0.5 of `cycle` as in BDL's code, 0 in CyCADA
    semantic: float = 0.0  # of the class that the source network says before, CyCADA's eq. 5; 1 there
    perceptual: float = 0.0  # of its normalised answers before, BDL's eq. 6; 0.1 there
    rebuilt: float = 0.0  # the same of images that went there and back; 10 in BDL
    form: Form = "least_squares"  # or "bce"
    lr: float = 2e-4  # of Adam for generators and critics, betas 0.5 and 0.999; falls to 0 over the second half
    history: int = 50  # images made before that a critic may see
    width: int = 16  # channels of generators
    blocks: int = 3  # residual ones
    critic_width: int = 32  # channels of critics

    def __post_init__(self) -> None:
        check(self, weights=("cycle", "identity", "semantic", "perceptual", "rebuilt", "history", "blocks"))
        check(self, positive=("lr", "width", "critic_width"))


class Both(nn.Module):
    """Two of a kind: `there` for source to target, or of the target; `back` for the other."""

    def __init__(self, there: nn.Module, back: nn.Module):
        super().__init__()
        self.there, self.back = there, back


@dataclass
class Run(Resumable):
    """All that changes while training."""

    generators: Both
    critics: Both
    histories: Both
    optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("generators", "critics", "histories", "optimizer", "critic_optimizer")


def begin(method: CycleGAN, *, size: int, device: torch.device) -> Run:
    """A run at step 0 for square images of `size` pixels, drawn from torch's global state."""
    generators = Both(*(Translator(width=method.width, blocks=method.blocks) for _ in range(2))).to(device)
    critics = Both(*(patch_critic(width=method.critic_width) for _ in range(2))).to(device)
    histories = Both(*(History(method.history, (3, size, size)) for _ in range(2))).to(device)
    ours, theirs = (torch.optim.Adam(x.parameters(), lr=method.lr, betas=(0.5, 0.999)) for x in (generators, critics))
    return Run(generators, critics, histories, ours, theirs)


def fit(
    method: CycleGAN, run: Run, seen: Iterable[Pair], watcher: nn.Module, settings: Optimiser, *, steps: int
) -> Iterator[Step]:
    """Train generators and critics from `run.step` on, one step of each a pair; `watcher`, a frozen network of the
    source (a classifier, or one that answers as adaptsegnet's), is asked only where `semantic`, `perceptual` or
    `rebuilt` is above 0. Of `settings` the clip counts.

    Raises Diverged where a loss is not finite.
    """
    watcher = watcher.net if isinstance(watcher, Frozen) else watcher  # the generators learn through it
    for pair in seen:
        rate = method.lr * min(1.0, 2 * max(0.0, 1 - run.step / steps))  # a rate below 0 climbs
        for optimizer in (run.optimizer, run.critic_optimizer):
            set_rate(optimizer, rate)
        source, target = pair.source, pair.target
        to_target, to_source = run.generators.there(source), run.generators.back(target)
        with Still(run.critics, watcher):
            terms = _looks(method, run, pair, to_target, to_source)
            terms |= _meaning(method, run, watcher, (source, target), (to_target, to_source))
            told = descend(run.optimizer, terms, settings, step=run.step + 1)
        for name, real, made in (("there", target, to_target), ("back", source, to_source)):
            told[f"critic_{name}"] = train_critic(
                getattr(run.critics, name), run.critic_optimizer, real, getattr(run.histories, name)(made),
                form=method.form, settings=settings, step=run.step + 1,
            )  # fmt: skip
        run.step += 1
        yield Step(run.step, told)


def cycle_loss(images: Float[Tensor, "n 3 h w"], again: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference of pixels, eq. 2."""
    return (again - images).abs().mean()


def semantic_loss(before: Float[Tensor, "n c ..."], after: Float[Tensor, "n c ..."]) -> Float[Tensor, ""]:
    """Cross entropy of answers on translated images against the first choice before. CyCADA, ICML 2018, eq. 5."""
    return F.cross_entropy(after, before.detach().argmax(1))


def perceptual_loss(before: Float[Tensor, "n c ..."], after: Float[Tensor, "n c ..."]) -> Float[Tensor, ""]:
    """Mean squared difference of answers, each normalised. BDL, CVPR 2019, eq. 6, and its code.

    A map is normalised over its pixels, channel by channel; a vector, which has none, over its classes.
    """
    one, other = (_normalised(x) for x in (before.detach(), after))
    return F.mse_loss(other, one)


def _normalised(answers: Tensor) -> Tensor:
    axes = tuple(range(2, answers.ndim)) or (1,)
    spread, mean = torch.var_mean(answers, axes, correction=0, keepdim=True)
    return (answers - mean) / (spread + 1e-5).sqrt()


def _looks(method: CycleGAN, run: Run, pair: Pair, to_target: Tensor, to_source: Tensor) -> Losses:
    fooled = [
        verdict_loss(critic(made), real=True, form=method.form)
        for critic, made in ((run.critics.there, to_target), (run.critics.back, to_source))
    ]
    terms = {"fooling": fooled[0] + fooled[1]}
    if method.cycle:
        again = run.generators.back(to_target), run.generators.there(to_source)
        terms["cycle"] = method.cycle * (cycle_loss(pair.source, again[0]) + cycle_loss(pair.target, again[1]))
    if method.identity:
        same = run.generators.there(pair.target), run.generators.back(pair.source)
        terms["identity"] = method.identity * (cycle_loss(pair.target, same[0]) + cycle_loss(pair.source, same[1]))
    return terms


def _meaning(
    method: CycleGAN, run: Run, watcher: nn.Module, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> Losses:
    terms: Losses = {}
    if not (method.semantic or method.perceptual or method.rebuilt):
        return terms
    watcher.eval()
    with torch.no_grad():
        known = [main_logits(watcher, images) for images in before]
    if method.semantic or method.perceptual:
        said = [main_logits(watcher, images) for images in after]
        pairs = list(zip(known, said, strict=True))
        terms["semantic"] = method.semantic * torch.stack([semantic_loss(*each) for each in pairs]).sum()
        terms["perceptual"] = method.perceptual * torch.stack([perceptual_loss(*each) for each in pairs]).sum()
    if method.rebuilt:
        again = run.generators.back(after[0]), run.generators.there(after[1])
        rebuilt = [perceptual_loss(a, main_logits(watcher, b)) for a, b in zip(known, again, strict=True)]
        terms["rebuilt"] = method.rebuilt * torch.stack(rebuilt).sum()
    return terms
