"""MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers. Wang, Wei, Dong,
Bao, Yang, Zhou. NeurIPS 2020. https://arxiv.org/abs/2002.10957"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from tutelage.losses.targets import weighted_mean
from tutelage.losses.tokens import attention_kl_rows, value_relations
from tutelage.methods.method import Method, check, look, transfer_set
from tutelage.models.blocks import depths
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class MiniLM(Method):
    """In the last block alone attend as the teacher does, and relate the values of tokens as it does: of any widths.

    The paper tunes for a task afterwards, here labels are learned at the same time. From memory of it, unchecked.
    """

    tokens = True
    attention: float = 1.0  # of where tokens look, eq. 1
    values: float = 1.0  # of the relations of their values, eq. 3
    task: float = 1.0  # of cross entropy on labelled images
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("attention", "values", "task", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        depths(student, teacher, attention=True)
        return nn.Identity()

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        (student, ours), (_, theirs) = look(nets.student, images, "attention"), look(nets.teacher, images, "attention")
        attention = attention_kl_rows(ours.scores[-1], theirs.scores[-1])
        values = attention_kl_rows(value_relations(ours.values[-1]), value_relations(theirs.values[-1]))
        return {
            "task": self.task * F.cross_entropy(student.logits[: len(labels)], labels),
            "attention": self.attention * weighted_mean(attention, trust),
            "values": self.values * weighted_mean(values, trust),
        }
