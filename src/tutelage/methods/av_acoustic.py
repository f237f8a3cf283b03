"""Audio-Visual Model Distillation Using Acoustic Images. Perez, Sanguineti, Morerio, Murino. WACV 2020.
https://arxiv.org/abs/1904.07933"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.data.modalities import Modality, seen_as
from tutelage.losses.targets import soft_cross_entropy, weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class AVAcoustic(Method):
    """Answer by a poorer sense as a teacher does by a richer one: here grey, or edges, for colour.

    The paper's teacher sees video with acoustic images, its student hears. The student is for images of its own sense:
    judge it on grey ones. Generalised distillation: soft labels of T, the student at 1. From memory, unchecked.
    """

    sense: Modality = "grey"  # of the student; colour: the teacher's
    hard: float = 0.5  # lambda, share of cross entropy; the paper tunes it
    temperature: float = 2.0  # T of the teacher alone; the paper tunes it
    unsupervised: float = 1.0  # what a pool image counts in the transfer set, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, shares=("hard",), positive=("temperature",), weights=("unsupervised",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        told = (nets.teacher(images).logits / self.temperature).softmax(-1)
        said = nets.student(seen_as(images, self.sense)).logits
        return {
            "task": self.hard * F.cross_entropy(said[: len(labels)], labels),
            "distillation": (1 - self.hard) * weighted_mean(soft_cross_entropy(said, told), trust),
        }
