"""TinyBERT: Distilling BERT for Natural Language Understanding. Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu. Findings
of EMNLP 2020. https://arxiv.org/abs/1909.10351"""

from dataclasses import dataclass

import torch
from torch import nn

from tutelage.losses.maps import squared_rows
from tutelage.losses.targets import soft_cross_entropy, weighted_mean
from tutelage.methods.method import Method, TwoStages, check, look, transfer_set
from tutelage.models.blocks import depths, evenly
from tutelage.models.heads import Widener
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class TinyBERT(Method):
    """First become like the teacher inside: embeddings, attention and tokens of every block; then answer like it.

    No label is read. The paper's first stage has a part on general text before the task's; here both are the pool. Its
    augmented sentences are the pool too.
    """

    tokens = True
    first: float = 0.77  # share of the run that learns what is inside: 10 of 13 epochs
    temperature: float = 1.0  # t of teacher and student, eq. 10; there is no T^2
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("first",), positive=("temperature",), weights=("unsupervised",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        depths(student, teacher, attention=True)
        return TwoStages(Widener(student.embedding_width, teacher.embedding_width), sizes.steps, self.first)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, trust = transfer_set(batch, self.unsupervised)
        student, ours = look(nets.student, images, "attention")
        teacher, theirs = look(nets.teacher, images, "attention")
        follow = evenly(len(ours.scores), len(theirs.scores))
        widened, second = nets.extra(ours.hidden)
        pairs = [(mine, theirs.hidden[block]) for mine, block in zip(widened, follow, strict=True)]
        hidden = torch.stack([squared_rows(*pair, elements="mean") for pair in pairs])  # embeddings, eq. 9, and eq. 8
        looks = [(mine, theirs.scores[block - 1]) for mine, block in zip(ours.scores, follow[1:], strict=True)]
        attention = torch.stack([squared_rows(*pair, elements="mean") for pair in looks])  # eq. 7, before the softmax
        told = (teacher.logits / self.temperature).softmax(-1)
        soft = soft_cross_entropy(student.logits / self.temperature, told) / told.shape[-1]  # the code's mean
        return {
            "hidden": (1 - second) * weighted_mean(hidden.sum(0), trust),
            "attention": (1 - second) * weighted_mean(attention.sum(0), trust),
            "distillation": second * weighted_mean(soft, trust),
        }
