"""Multi-Task Self-Training for Learning General Representations. Ghiasi, Zoph, Cubuk, Le, Lin. ICCV 2021.
https://arxiv.org/abs/2108.11353"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.methods.method import check
from tutelage.methods.multitask.balance import Balance, Scales, gradient_norms, normalised, uncertain
from tutelage.methods.multitask.method import DepthLoss, MultiMethod, asked, lost
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import BadInput, Losses, Sizes, Task


@dataclass(frozen=True, kw_only=True)
class MuST(MultiMethod):
    """Learn all tasks at once from what people gave and from what a specialist for each task said of one pool."""

    teacher = "self"  # the specialists have labelled the pool before
    classification: float = 1.0  # lambda of the task, sec. 3.2; their constants are (b_s lr_i) / (b_i lr_s)
    detection: float = 1.0  # lambda of the task
    segmentation: float = 1.0  # lambda of the task
    depth: float = 1.0  # lambda of the task
    unsupervised: float = 1.0  # factor on all that the specialists said
    balance: Balance = "fixed"  # or weights that are learned, in one process, and come on top of the lambdas
    alpha: float = 1.5  # of gradnorm: how strongly tasks that lag behind are favoured
    depth_loss: DepthLoss = "log"  # affine leaves scale and shift open: stages, which score metres, refuse it
    drop: float = 0.1  # share of an image's pseudo-depth that is left out, the worst; Depth Anything V2

    def __post_init__(self) -> None:
        weights = ("classification", "detection", "segmentation", "depth", "unsupervised", "alpha")
        check(self, weights=weights, shares=("drop",))

    def init(self, student: Multi, teacher: Multi, sizes: Sizes) -> nn.Module:
        return Scales(student.tasks, self.balance)

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        images, rows = asked(batch)
        scales = nets.extra
        if not isinstance(scales, Scales):  # wrapped, as what learns is where processes are several
            raise BadInput(f"balance of MuST is {self.balance!r}: it is learned in one process. Take one, or 'fixed'")
        outputs = nets.student(images, rows)
        each = lost(outputs, batch, depth=self.depth_loss, drop=self.drop)
        maps = list(outputs.pyramid.values())
        # Where nobody said anything there is still something to differentiate.
        nothing = torch.stack([m.sum() for m in maps]).sum().float() * 0
        total = {task: getattr(self, task) * both.total(self.unsupervised) for task, both in each.items()}
        factors, balance = self._balanced(total, maps, scales) if total else ({}, nothing)
        terms: Losses = {}
        for task in scales.tasks:
            people, pool = each.get(task, (None, None))
            factor = getattr(self, task) * factors.get(task, 1.0)
            terms[task] = nothing.detach() if people is None else factor * people
            terms[f"pool_{task}"] = nothing.detach() if pool is None else factor * self.unsupervised * pool
        return {**terms, "balance": balance + nothing}

    def after_step(self, nets: MultiNets, step: int) -> None:
        assert isinstance(nets.extra, Scales)
        nets.extra.rescale()

    def _balanced(
        self, total: dict[Task, Tensor], maps: list[Tensor], scales: Scales
    ) -> tuple[dict[Task, Tensor], Tensor]:
        """The factor of each task, and what teaches the factors."""
        if self.balance == "uncertainty":
            return uncertain(total, scales.numbers)
        if self.balance == "gradnorm":
            first = {task: scales.first(task, value) for task, value in total.items()}
            apart = normalised(scales.numbers, gradient_norms(total, maps), total, first, alpha=self.alpha)
            return {task: scales.numbers[task].detach() for task in total}, apart
        return {}, maps[0].new_zeros(())
