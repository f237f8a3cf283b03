"""Patient Knowledge Distillation for BERT Model Compression. Sun, Cheng, Gan, Liu. EMNLP 2019.
https://arxiv.org/abs/1908.09355"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.distillation import Reduction, kl_rows
from tutelage.losses.targets import weighted_mean
from tutelage.losses.tokens import patient_rows
from tutelage.methods.method import Method, check, look, transfer_set
from tutelage.models.blocks import depths, evenly, latest
from tutelage.models.pairs import Projection
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class PKD(Method):
    """Follow the teacher's class token through its blocks, not only to its answer.

    The paper's tokens are words and student and teacher equally wide; of another width, the student's token goes
    through a linear map.
    """

    tokens = True
    blocks: Literal["skip", "last"] = "skip"  # the teacher's at even steps (PKD-Skip), or those before its last
    alpha: float = 0.5  # share of the soft labels; searched in 0.2, 0.5, 0.7
    temperature: float = 10.0  # T of teacher and student; searched in 5, 10, 20
    beta: float = 100.0  # of the class tokens; searched in 10 to 1000
    reduction: Reduction = "mean"  # over classes too, as in the code
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("alpha",), positive=("temperature",), weights=("beta", "unsupervised"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        if depths(student, teacher)[0] < 2:
            raise BadInput("the student has 1 block, and none before its last is to follow the teacher. Take 2 or more")
        return Projection(student, teacher)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        (student, ours), (teacher, theirs) = look(nets.student, images, "hidden"), look(nets.teacher, images, "hidden")
        follow = {"skip": evenly, "last": latest}[self.blocks](len(ours.hidden) - 1, len(theirs.hidden) - 1)
        seen = torch.cat([hidden[:, 0] for hidden in ours.hidden[1:-1]])  # the last block answers for itself
        wanted = torch.stack([theirs.hidden[block][:, 0] for block in follow[1:-1]])
        patient = patient_rows(nets.extra(seen).unflatten(0, wanted.shape[:2]), wanted)
        soft = kl_rows(student.logits, teacher.logits, temperature=self.temperature, reduction=self.reduction)
        return {
            "task": (1 - self.alpha) * F.cross_entropy(student.logits[: len(labels)], labels),
            "distillation": self.alpha * weighted_mean(soft, trust),
            "patience": self.beta * weighted_mean(patient, trust),
        }
