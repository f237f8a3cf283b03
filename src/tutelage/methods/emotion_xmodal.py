"""Emotion Recognition in Speech using Cross-Modal Transfer in the Wild. Albanie, Nagrani, Vedaldi, Zisserman. ACM MM
2018. https://arxiv.org/abs/1808.05561"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.modalities import Modality, seen_as
from tutelage.losses.targets import soft_cross_entropy, weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class EmotionXModal(Method):
    """Say by another sense what a teacher says of several frames of the same thing together; no label is read.

    The paper's teacher sees faces, its student hears the voice. Here frames are the two views of an image, and the
    student sees the strong one in grey, or its edges. The student is for images of its own sense: judge it on such.
    From memory of the paper, unchecked.
    """

    sense: Modality = "grey"  # of the student; colour: the teacher's
    frames: Literal["mean", "max"] = "mean"  # of the teacher's logits over the frames
    temperature: float = 2.0  # T of both; there is no T^2
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, positive=("temperature",), weights=("unsupervised",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        strong, trust = transfer_set(batch, self.unsupervised)
        frames = nets.teacher(torch.cat([batch.labeled.weak, batch.unlabeled.weak, strong])).logits
        told = pooled(frames.unflatten(0, (2, len(strong))), self.frames)
        said = nets.student(seen_as(strong, self.sense)).logits
        soft = soft_cross_entropy(said / self.temperature, (told / self.temperature).softmax(-1))
        return {"distillation": weighted_mean(soft, trust)}


def pooled(frames: Float[Tensor, "f n c"], how: Literal["mean", "max"]) -> Float[Tensor, "n c"]:
    """One answer of the f frames of each clip."""
    return frames.mean(0) if how == "mean" else frames.amax(0)
