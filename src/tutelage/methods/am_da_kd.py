"""Domain Adaptation of DNN Acoustic Models Using Knowledge Distillation. Asami, Masumura, Yamaguchi, Masataki, Aono.
ICASSP 2017. https://doi.org/10.1109/ICASSP.2017.7953145"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.data.corruptions import Corruption, corrupted
from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class AMDAKD(Method):
    """Learn a few labels of a target domain, held back by what the source's model says of the same images.

    Begin with the teacher's weights (`start: teacher`). Where the labelled images are of the teacher's own domain, a
    known corruption makes them the target's. The paper's are speech, frame by frame. From memory of it, unchecked.
    """

    pool = False
    soft: float = 0.5  # lambda, share of the source model's answers
    temperature: float = 2.0  # T of both
    corruption: Corruption = "background"  # from the teacher's domain to the target
    strength: float = 1.0  # of it; 0: the labelled images are the target's already

    def __post_init__(self) -> None:
        check(self, shares=("soft",), positive=("temperature",), weights=("strength",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        target = corrupted(batch.labeled.strong, self.corruption, strength=self.strength)
        said, told = nets.student(target).logits, nets.teacher(target).logits
        return {
            "task": (1 - self.soft) * F.cross_entropy(said, batch.labeled.labels),
            "distillation": self.soft * soft_label_kl(said, told, temperature=self.temperature),
        }
