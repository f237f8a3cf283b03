"""Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks via Attention
Transfer. Zagoruyko, Komodakis. ICLR 2017. https://arxiv.org/abs/1612.03928"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.distillation import kl_rows
from tutelage.losses.maps import attention_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.pairs import Adapters, stage_pairs
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class AttentionTransfer(Method):
    """Look where the teacher looks: the energy of its maps, whatever their channels, at every stage (sec. 3.1).

    The paper's other variant, which compares gradients by the image (sec. 3.2), is not here: it differentiates twice.
    """

    form: Literal["code", "paper"] = "code"  # beta x mean squares, as the authors run; or beta / 2 x length, eq. 2
    weight: float = 1000.0  # beta of the authors' code; with "paper" it is about 0.1
    power: int = 2  # p of the attention
    layers: tuple[str, ...] = ()  # pairs such as "stage2:stage3"; none: found
    soft: float = 0.0  # weight of soft labels beside, T^2 KL; the authors' code has them as an option
    temperature: float = 4.0  # T of the soft labels
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("weight", "soft", "unsupervised"), positive=("power", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Adapters(student, teacher, stage_pairs(student, teacher, self.layers), adapt="none")

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        factor = self.weight / 2 if self.form == "paper" else self.weight
        maps = nets.extra(student.features, teacher.features)
        apart = torch.stack([attention_rows(*pair, power=self.power, form=self.form) for pair in maps]).sum(0)
        told = kl_rows(student.logits, teacher.logits, temperature=self.temperature)
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "attention": factor * weighted_mean(apart, trust),
            "distillation": self.soft * weighted_mean(told, trust),
        }
