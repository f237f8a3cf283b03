"""Low-resolution Visual Recognition via Deep Feature Distillation. Zhu, Han, Zhang, Lin, Wang. ICASSP 2019.
https://doi.org/10.1109/ICASSP.2019.8682926"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.maps import squared_rows
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.models.pairs import Projection
from tutelage.types import Batch, Losses, Nets, Network, Sizes


@dataclass(frozen=True, kw_only=True)
class LowResDFD(Method):
    """See in a small image what the teacher sees in the large one: the same embedding.

    The student never meets a sharp image in training. It is for images that are as small when it is used, and is
    judged fairly on such images only.
    """

    shrink: int = 2  # times smaller in height and width is what the student sees, enlarged again; 1: the same image
    weight: float = 1.0  # lambda of the embeddings' squared distance, a sum over elements; the paper's is not known
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1

    def __post_init__(self) -> None:
        check(self, weights=("weight", "unsupervised"), positive=("shrink",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Projection(student, teacher)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student = nets.student(blurred(images, self.shrink))
        apart = squared_rows(nets.extra(student.embedding), nets.teacher(images).embedding)
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "feature": self.weight * weighted_mean(apart, trust),
        }


def blurred(images: Float[Tensor, "n 3 h w"], shrink: int) -> Float[Tensor, "n 3 h w"]:
    """Images `shrink` times smaller by averaging areas, and as large as before by bilinear interpolation."""
    height, width = images.shape[-2:]
    small = F.adaptive_avg_pool2d(images, (max(1, height // shrink), max(1, width // shrink)))
    return F.interpolate(small, size=(height, width), mode="bilinear")
