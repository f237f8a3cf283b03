"""Compression of Acoustic Event Detection Models With Quantized Distillation. Shi, Sun, Kao, Rozgic, Matsoukas, Wang.
Interspeech 2019. https://arxiv.org/abs/1907.00873"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch.func import functional_call

from tutelage.losses.distillation import Reduction, kl_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.quantised import FULL, quantised, quantised_weights
from tutelage.types import BadInput, Batch, Losses, Nets, Network


@dataclass(frozen=True, kw_only=True)
class QuantizedDistillation(Method):
    """Answer as a teacher does with weights of few bits: the student is rounded in its forward, and learns in floats.

    While it is trained what is stored stays float; what is judged and kept in the end is the rounded network.
    The paper's networks hear sound; numbers that it fixes for them are taken from KD.
    """

    bits: int = 8  # of each weight; the paper also takes 4; 32 rounds nothing and is KD
    alpha: float = 0.9  # share of the soft labels; 1 - alpha is cross entropy
    temperature: float = 4.0  # T of teacher and student
    reduction: Reduction = "batchmean"  # or "mean", classes times smaller
    unsupervised: float = 1.0  # what a pool image counts in the transfer set, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("alpha",), positive=("temperature",), weights=("unsupervised",))
        if not 2 <= self.bits <= FULL:
            raise BadInput(f"bits of {type(self).__name__} is {self.bits}: it must be from 2 to 32. 8 is the default")

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        weights = quantised_weights(nets.student, self.bits)
        said = functional_call(nets.student, weights, (images,)).logits  # batch norm moves the student's own buffers
        told = nets.teacher(images).logits
        rows = kl_rows(said, told, temperature=self.temperature, reduction=self.reduction)
        return {
            "task": (1 - self.alpha) * F.cross_entropy(said[: len(labels)], labels),
            "distillation": self.alpha * weighted_mean(rows, trust),
        }

    def kept(self, net: Network) -> Network:
        return quantised(net, self.bits)
