"""Multi-view Contrastive Learning for Online Knowledge Distillation. Yang, An, Xu. ICASSP 2021.
https://arxiv.org/abs/2006.04093"""

from dataclasses import dataclass

from torch import nn

from tutelage.losses.contrast import memory_rows, pair_similarities
from tutelage.losses.distillation import kl_rows
from tutelage.losses.peers import all_learn
from tutelage.losses.targets import mean_or_zero, weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.memories import Contrasted
from tutelage.models.peers import logits_of
from tutelage.types import BadInput, Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class MCL(Method):
    """Branches of one trunk are views of an image: each shall tell it from others in what another branch remembers.

    The student is the last branch, which also learns the soft labels of all. Memories are of the pool, whose images
    alone are numbered; without a pool nothing is contrasted. Of several processes the first's are remembered.
    """

    teacher = "self"
    branches: int = 4  # m, the student's own among them
    trunk: int = 1  # stages that all branches share; small_resnet has three
    width: int = 128  # of what is remembered
    contrast: float = 0.025  # beta, of the sum over ordered pairs of branches
    negatives: int = 256  # K, other images that each is told from; 16384 for VGG and HCGNet
    tau: float = 0.1  # temperature of similarities
    momentum: float = 0.5  # of the memories
    soft: float = 1.0  # alpha, of the soft labels
    temperature: float = 3.0  # T of these
    unsupervised: float = 1.0  # what a pool image counts in soft labels, a labelled one being 1; a factor on contrast

    def __post_init__(self) -> None:
        positive = ("branches", "trunk", "width", "negatives", "tau", "temperature")
        check(self, shares=("momentum",), weights=("contrast", "soft", "unsupervised"), positive=positive)
        if self.branches < 2:
            raise BadInput(f"branches of MCL is {self.branches}: one must remember for another. Write 2 or more")

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        shape = (sizes.unlabeled, self.width)
        return Contrasted(student, shape, trunk=self.trunk, branches=self.branches, momentum=self.momentum)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student = nets.student(images)
        others, seen, told = nets.extra(student, batch.unlabeled.ids, negatives=self.negatives)
        said = logits_of([*others, student])
        soft = kl_rows(student.logits, said.mean(0), temperature=self.temperature)
        rows = memory_rows(pair_similarities(seen, told), tau=self.tau)
        return {
            "task": all_learn(said, labels),
            "distillation": self.soft * weighted_mean(soft, trust),
            "contrast": self.unsupervised * self.contrast * mean_or_zero(rows.sum(0)),
        }
