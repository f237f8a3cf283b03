"""DarkRank: Accelerating Deep Metric Learning via Cross Sample Similarities Transfer. Chen, Wang, Zhang. AAAI 2018.
https://arxiv.org/abs/1707.01220"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.ranking import distance_scores, first_others, list_mle, list_net, neighbour_triplets
from tutelage.losses.targets import weighted_mean
from tutelage.methods.method import Method, check, transfer_set
from tutelage.types import BadInput, Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class DarkRank(Method):
    """For each image, list the most similar others in the order in which the teacher lists them.

    Embeddings are unit vectors. The paper's queries are half of a batch of pairs; here all images are, and the
    triplets take all pairs of labelled images of a class. Its large-margin softmax is a plain one.
    """

    form: Literal["hard", "soft"] = "hard"  # the teacher's order is the truth; or as likely as its scores say
    weight: float = 1.0  # of the lists; 16 in the authors' command, with "soft", alpha 12.25 and beta 4
    alpha: float = 3.0  # of the scores, -alpha x distance^beta
    beta: float = 3.0  # their power
    length: int = 4  # images in a list; fewer in a small batch
    triplet: float = 1.0  # weight of the triplets beside
    epsilon: float = 0.1  # what pushing negatives away counts in a triplet, pulling the positive being 1
    margin: float = 0.9  # half of what a negative is to be farther away, in squared distance
    unsupervised: float = 1.0  # what a pool image counts, a labelled one being 1; a list counts its images' product

    def __post_init__(self) -> None:
        weights = ("weight", "triplet", "epsilon", "margin", "unsupervised")
        check(self, weights=weights, positive=("alpha", "beta", "length"))
        if self.form == "soft" and self.length > 5:
            raise BadInput(f"length of DarkRank is {self.length}: all orders of a list are compared. Take 5 or less")

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels = batch.labeled.labels
        images, trust = transfer_set(batch, self.unsupervised)
        student, teacher = nets.student(images), nets.teacher(images)
        ours, theirs = F.normalize(student.embedding), F.normalize(teacher.embedding)
        heard = len(images) if self.unsupervised else len(labels)  # or silent images would take places in lists
        triplets = neighbour_triplets(ours[: len(labels)], labels, epsilon=self.epsilon, margin=self.margin)
        return {
            "task": F.cross_entropy(student.logits[: len(labels)], labels),
            "triplet": self.triplet * triplets,
            "rank": self.weight * self._lists(ours[:heard], theirs[:heard], trust[:heard]),
        }

    def _lists(
        self, student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"], trust: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        ours, theirs = (distance_scores(x, alpha=self.alpha, beta=self.beta) for x in (student, teacher))
        items = first_others(theirs, self.length)
        listed = ours.gather(1, items)
        lists = list_mle(listed) if self.form == "hard" else list_net(listed, theirs.gather(1, items))
        return weighted_mean(lists, trust * trust[items].prod(-1))
