"""Rethinking the Inception Architecture for Computer Vision. Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. CVPR 2016.
https://arxiv.org/abs/1512.00567 (label smoothing; with 0 this is plain cross entropy)"""

from dataclasses import dataclass

import torch

from tutelage.losses.cutmix import pasted, two_views
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class Supervised(Method):
    """Learn from given labels alone: the first teacher, and the baseline that every gain is measured against."""

    teacher = "self"
    pool = False
    strong: float = 0.5  # share of the strong view in the loss, as in the labelled term of fixmatch and adamatch
    label_smoothing: float = 0.0  # epsilon; the paper's is 0.1, which makes soft labels of a teacher say less
    cutmix: float = 0.0  # share of strong views that have a part of another: losses/cutmix.py

    def __post_init__(self) -> None:
        check(self, shares=("strong", "label_smoothing", "cutmix"))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        weak, strong, labels = batch.labeled
        seen = pasted(strong, chance=self.cutmix)
        on_strong, on_weak = nets.student(torch.cat([seen.images, weak])).logits.chunk(2)
        smoothing = self.label_smoothing
        return {"task": two_views(on_weak, on_strong, labels, seen, share=self.strong, smoothing=smoothing)}
