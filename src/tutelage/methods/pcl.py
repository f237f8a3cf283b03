"""Peer Collaborative Learning for Online Knowledge Distillation. Wu, Gong. AAAI 2021.
https://arxiv.org/abs/2006.04147"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.losses.peers import all_learn, each_kl, others_kl
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, Paced, check, transfer_set
from tutelage.models.average import follow
from tutelage.models.collaborating import Collaborating
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class PCL(Method):
    """Branches of one trunk, each with its own view, learn from a head on all of them and from the others' averages.

    The student is the first branch, and its average is what is kept. Two views are drawn of an image, so branches see
    the strong and the weak one in turn, where the paper's draw one each.
    """

    teacher = "copy"
    branches: int = 3  # m, the student's own among them
    trunk: int = 2  # stages that all branches share; small_resnet has three
    temperature: float = 3.0  # T of all
    decay: float = 0.999  # of the averages, at most; after t steps over no more than t + 1
    ramp: float = 0.27  # share of the run over which the divergences grow; the authors: 80 of 300 epochs
    unsupervised: float = 1.0  # what a pool image counts in the divergences, a labelled one being 1

    def __post_init__(self) -> None:
        shares, positive = ("decay", "ramp"), ("branches", "trunk", "temperature")
        check(self, shares=shares, weights=("unsupervised",), positive=positive)

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Paced(Collaborating(student, sizes.classes, trunk=self.trunk, branches=self.branches), sizes.steps)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        strong, trust = transfer_set(batch, self.unsupervised)
        images = torch.cat([strong, batch.labeled.weak, batch.unlabeled.weak])
        (said, ensemble, mean), progress = nets.extra(nets.student(images), nets.teacher(images))
        scale = sigmoid_ramp(progress, over=self.ramp)
        told = each_kl(said, ensemble, temperature=self.temperature).sum(0)
        others = others_kl(said, mean, temperature=self.temperature).sum(0)
        return {
            "task": all_learn(said, labels),
            "ensemble": F.cross_entropy(ensemble[: len(labels)], labels),
            "peers": scale * weighted_mean(told, trust),
            "averages": scale * weighted_mean(others, trust),
        }

    def after_step(self, nets: Nets, step: int) -> None:
        super().after_step(nets, step)
        assert isinstance(nets.extra, Paced)
        assert isinstance(nets.extra.net, Collaborating)
        follow(nets.teacher, nets.student, step, most=self.decay)
        follow(nets.extra.net.mean, nets.extra.net.branches, step, most=self.decay)
