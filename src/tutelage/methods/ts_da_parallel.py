"""Large-Scale Domain Adaptation via Teacher-Student Learning. Li, Seltzer, Wang, Zhao, Gong. Interspeech 2017.
https://arxiv.org/abs/1708.05466"""

from dataclasses import dataclass

import torch

from tutelage.data.corruptions import Corruption, corrupted
from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class TSDAParallel(Method):
    """Say of an image in the target domain what a teacher says of the same image in its own; no label is read.

    Pairs are images of the source and the same as a known corruption makes them; begin with the teacher's weights
    (`start: teacher`). The paper's are clean and noisy speech, frame by frame. From memory of the paper, unchecked.
    """

    pool = False
    corruption: Corruption = "background"  # from the teacher's domain to the student's
    strength: float = 1.0  # of it; 0 leaves images as they are
    temperature: float = 1.0  # T of both

    def __post_init__(self) -> None:
        check(self, weights=("strength",), positive=("temperature",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        source = torch.cat([batch.labeled.weak, batch.labeled.strong])
        told = nets.teacher(source).logits
        said = nets.student(corrupted(source, self.corruption, strength=self.strength)).logits
        return {"distillation": soft_label_kl(said, told, temperature=self.temperature)}
