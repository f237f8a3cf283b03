"""Online Knowledge Distillation for Efficient Pose Estimation. Li, Ye, Song, Huang, Pan. ICCV 2021.
https://arxiv.org/abs/2108.02092

    run = begin(OKDHP(), PoseNet(PoseSpec(), EXTREMES), settings)
    for step in fit(OKDHP(), run, batches, settings, steps=...): ...
    points = peaks(run.student.eval()(images))
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tutelage.data.batches import on_device
from tutelage.data.keypoints import Posed
from tutelage.losses.heatmaps import gaussian_maps, map_mse, spatial_kl
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.methods.method import check
from tutelage.models.poses import Ensemble, PoseNet
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate
from tutelage.train.settings import Optimiser
from tutelage.types import Losses


@dataclass(frozen=True, kw_only=True)
class OKDHP:
    """Grow branches on your own trunk, mix their heat-maps point by point, and let each learn from the mixture.

    With one branch nothing is mixed, and points are learned from people alone.
    """

    __pydantic_config__ = {"extra": "forbid"}
    branches: int = 3  # the student's own among them, which alone is kept
    sigma: float = 1.0  # of the Gaussians that are learned, in cells
    ensemble: float = 1.0  # of the mixture's own error
    weight: float = 5.0  # of the divergences; the authors' on MPII
    ramp: float = 0.43  # share of the run over which that grows; the authors: 60 of 140 epochs

    def __post_init__(self) -> None:
        check(self, shares=("ramp",), weights=("ensemble", "weight"), positive=("branches", "sigma"))


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: PoseNet
    extra: nn.Module  # an Ensemble, or nothing where there is one branch
    optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "extra", "optimizer")


def begin(method: OKDHP, student: PoseNet, settings: Optimiser) -> Run:
    """A run at step 0, by Adam as the authors have it. Further branches are drawn from torch's state."""
    extra = Ensemble(student, method.branches) if method.branches > 1 else nn.Identity()
    extra = extra.to(next(student.parameters()).device)
    return Run(student, extra, torch.optim.Adam([*student.parameters(), *extra.parameters()], lr=settings.lr))


def losses(method: OKDHP, run: Run, batch: Posed, *, progress: float) -> Losses:
    """Each branch by the labels, the mixture too, and each branch by the mixture, which learns from that as well.

    `progress` is the share of the run that is over.
    """
    maps = run.student.seen(batch.images)
    own = run.student.branch(maps).float()
    visible, size = batch.visible, (own.shape[-2], own.shape[-1])
    wanted = gaussian_maps(batch.points / batch.images.shape[-1], size=size, sigma=method.sigma)
    if not isinstance(run.extra, Ensemble):
        return {"task": map_mse(own, wanted, visible)}
    said, mixed = run.extra(maps, own)
    ramp = sigmoid_ramp(own.new_tensor(progress), over=method.ramp)
    apart = torch.stack([spatial_kl(one, mixed, visible) for one in said]).sum()
    return {
        "task": torch.stack([map_mse(one, wanted, visible) for one in said]).sum(),
        "ensemble": method.ensemble * map_mse(mixed, wanted, visible),
        "distillation": method.weight * ramp * apart,
    }


def fit(method: OKDHP, run: Run, batches: Iterable[Posed], settings: Optimiser, *, steps: int) -> Iterator[Step]:
    """Train from `run.step` on, one step a batch, where the student lies. Of `settings` it takes what Adam has.

    Raises Diverged where a loss is not finite: the step before it is then the last that changed anything.
    """
    device = next(run.student.parameters()).device
    for batch in batches:
        set_rate(run.optimizer, settings.lr * schedule(run.step, steps, settings.warmup_steps))
        run.student.train()
        run.extra.train()
        terms = losses(method, run, Posed(*(on_device(x, device) for x in batch)), progress=run.step / steps)
        terms = descend(run.optimizer, terms, settings, step=run.step + 1)
        run.step += 1
        yield Step(run.step, terms)
