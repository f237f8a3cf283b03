"""Knowledge Distillation from Internal Representations. Aguilar, Ling, Zhang, Yao, Fan, Guo. AAAI 2020.
https://arxiv.org/abs/1910.03723"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.targets import soft_cross_entropy, weighted_mean
from tutelage.losses.tokens import attention_kl_rows, cosine_apart
from tutelage.methods.method import Method, check, look, transfer_set
from tutelage.models.blocks import depths, evenly
from tutelage.models.ladder import Ladder
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class InternalRepr(Method):
    """Attend as the teacher does and see in the class token what it sees, block by block from below; then classify.

    The formula was checked in a secondary source only, the weights not at all. The paper's tokens are words,
    and it counts epochs.
    """

    tokens = True
    schedule: Literal["stacked", "progressive", "all"] = "stacked"  # earlier blocks go on (SID), or not (PID)
    first: float = 0.5  # share of the run for the blocks; each ends by its equal part's end, the next has what is left
    threshold: float = 0.0  # a block whose loss falls below it makes way for the next one early; 0: none does
    internal: float = 1.0  # of a block's attention and class token
    soft: float = 1.0  # of the soft labels
    temperature: float = 1.0  # T of teacher and student, in the soft labels
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("threshold", "internal", "soft", "unsupervised"), positive=("temperature",))
        check(self, shares=("first",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        if student.embedding_width != teacher.embedding_width:
            raise BadInput(
                f"tokens of the student are {student.embedding_width} wide, of its teacher {teacher.embedding_width}, "
                "but their cosine is taken. Use equal widths, or tinybert, which has a map between them"
            )
        return Ladder(depths(student, teacher, attention=True)[0], self.first * sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        ladder, labels = nets.extra, batch.labeled.labels
        assert isinstance(ladder, Ladder)
        images, trust = transfer_set(batch, self.unsupervised)
        student, ours = look(nets.student, images, "attention")
        teacher, theirs = look(nets.teacher, images, "attention")
        apart = []
        for block, other in enumerate(evenly(len(ours.scores), len(theirs.scores))[1:], start=1):
            attention = attention_kl_rows(ours.scores[block - 1], theirs.scores[other - 1])
            token = cosine_apart(ours.hidden[block][:, 0], theirs.hidden[other][:, 0])
            apart.append(weighted_mean(attention + token, trust))
        blocks, top = ladder.weights(self.schedule)
        ladder.see(torch.stack(apart))
        told = (teacher.logits / self.temperature).softmax(-1)
        soft = soft_cross_entropy(student.logits / self.temperature, told)
        return {
            "task": top * F.cross_entropy(student.logits[: len(labels)], labels),
            "distillation": top * self.soft * weighted_mean(soft, trust),
            "internal": self.internal * (blocks * torch.stack(apart)).sum(),
        }

    def after_step(self, nets: Nets, step: int) -> None:
        assert isinstance(nets.extra, Ladder)
        nets.extra.climb(step, self.threshold)
