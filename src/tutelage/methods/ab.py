"""Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons. Heo, Lee, Yun, Choi. AAAI
2019. https://arxiv.org/abs/1811.03233"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.distillation import kl_rows
from tutelage.losses.maps import boundary_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, TwoStages, check, transfer_set
from tutelage.models.pairs import Adapters, stage_pairs
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class AB(Method):
    """First learn which of the teacher's neurons fire, and not how strongly; then learn its soft labels.

    The paper reads responses before the activation, stages are seen after it. That is the same for the teacher: of it
    only the sign counts, which ReLU, GELU and SiLU keep. The student's connector sees its map after the activation.
    """

    first: float = 0.3  # share of the run that learns boundaries; the authors take as many epochs as the data want
    margin: float = 1.0  # how far beyond zero a response is pushed, mu
    weight: float = 0.003  # of the sum over elements, in the authors' code; halved with each stage before the last
    layers: tuple[str, ...] = ()  # pairs such as "stage2:stage3"; none: found
    temperature: float = 3.0  # T of the soft labels in the second stage; in the authors' code there is no T^2
    label: float = 0.0  # weight of the labels in the second stage; the authors' code reads none
    soft: float = 1.0  # weight of the soft labels in the second stage
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        weights = ("margin", "weight", "label", "soft", "unsupervised")
        check(self, shares=("first",), weights=weights, positive=("temperature",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        pairs = stage_pairs(student, teacher, self.layers)
        return TwoStages(Adapters(student, teacher, pairs), sizes.steps, self.first)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        # Before sizes meet: where one position stands for several, the majority of the neurons under it fires or not.
        firing = {name: (maps > 0).float() - 0.5 for name, maps in teacher.features.items()}
        maps, second = nets.extra(student.features, firing)
        deep_first = enumerate(reversed(maps))
        apart = torch.stack([boundary_rows(*pair, margin=self.margin) / 2**depth for depth, pair in deep_first]).sum(0)
        soft = kl_rows(student.logits, teacher.logits, temperature=self.temperature) / self.temperature**2
        return {
            "task": second * self.label * F.cross_entropy(student.logits[: len(labels)], labels),
            "boundary": (1 - second) * self.weight * weighted_mean(apart, trust),
            "distillation": second * self.soft * weighted_mean(soft, trust),
        }
