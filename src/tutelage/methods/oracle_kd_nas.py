"""Towards Oracle Knowledge Distillation with Neural Architecture Search. Kang, Mun, Han. AAAI 2020.
https://arxiv.org/abs/1911.13019"""

from dataclasses import dataclass

from tutelage.losses.distillation import oracle_rows
from tutelage.losses.targets import mean_or_zero
from tutelage.methods.method import Method, check
from tutelage.models.committee import each_said
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class OracleKDNAS(Method):
    """Of several teachers, hear on each image only those that are right; where none is, learn the label alone.

    Teachers come as a committee (`python -m tasks committee`); a single one may come as it is. The search for a student
    that has room for what they say, which uses the same loss, is tutelage.train.oracle_search.
    """

    pool = False  # who is right is only known with a label
    share: float = 0.9  # lambda, of the soft labels where a teacher is right; the value is KD's
    temperature: float = 4.0  # T; the value is KD's

    def __post_init__(self) -> None:
        check(self, shares=("share",), positive=("temperature",))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        images, labels = batch.labeled.strong, batch.labeled.labels
        said = nets.student(images).logits
        told = each_said(nets.teacher(images))
        rows = oracle_rows(said, told, labels, share=self.share, temperature=self.temperature)
        return {"oracle": mean_or_zero(rows)}
