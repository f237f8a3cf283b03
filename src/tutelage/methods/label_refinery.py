"""Label Refinery: Improving ImageNet Classification through Label Progression. Bagherinezhad, Horton, Rastegari,
Farhadi. 2018. https://arxiv.org/abs/1805.02641"""

from dataclasses import dataclass

from tutelage.losses.distillation import kl_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class LabelRefinery(Method):
    """Forget the given labels: learn what the previous model says of the very crop that the student sees.

    Labels are never read, so pool images count like labelled ones; the paper has no pool.
    """

    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("unsupervised",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, trust = transfer_set(batch, self.unsupervised)
        # The authors' code leaves out the teacher's entropy, which has no gradient; with it, 0 means the same answer.
        refined = kl_rows(nets.student(images).logits, nets.teacher(images).logits)
        return {"distillation": weighted_mean(refined, trust)}
