"""Online Subclass Knowledge Distillation. Tzelepi, Passalis, Tefas. Expert Systems with Applications 2021.
https://doi.org/10.1016/j.eswa.2021.115132"""

from dataclasses import dataclass

import torch.nn.functional as F

from tutelage.losses.clusters import subclass_rows
from tutelage.losses.targets import mean_or_zero
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class OSKD(Method):
    """Find the subclasses of each class in the batch at hand: be nearer to like images of it, farther from the rest.

    Embeddings are scaled to length one. The paper's formula, neighbours and weight could not be checked: this has the
    properties that its abstract tells of.
    """

    teacher = "self"
    pool = False
    neighbours: int = 3  # k, images of the same class that count as like
    weight: float = 0.01  # lambda
    margin: float = 1.0  # mean squared distance, of at most 4, from which on the rest of a class is far enough

    def __post_init__(self) -> None:
        check(self, positive=("neighbours", "margin"), weights=("weight",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels, said = batch.labeled.labels, nets.student(batch.labeled.strong)
        apart = subclass_rows(F.normalize(said.embedding), labels, neighbours=self.neighbours, margin=self.margin)
        return {"task": F.cross_entropy(said.logits, labels), "subclass": self.weight * mean_or_zero(apart)}
