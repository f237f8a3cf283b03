"""FDA: Fourier Domain Adaptation for Semantic Segmentation. Yang, Soatto. CVPR 2020. https://arxiv.org/abs/2004.05498"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.data.fourier import in_style
from tutelage.losses.targets import mean_or_zero, trusted_cross_entropy, two_view_cross_entropy
from tutelage.losses.uncertainty import robust_entropy
from tutelage.methods.method import Method, check
from tutelage.types import Batch, Losses, Nets


@dataclass(frozen=True, kw_only=True)
class FDA(Method):
    """Learn from labelled images that carry the pool's light and colours, and be sure of the pool.

    The labelled images are the source, the pool the target. The authors train three networks, one a beta, and average
    them; one run is one of the three.
    """

    teacher = "self"
    beta: float = 0.05  # share of the side that is a low frequency: 0.01, 0.05 or 0.09
    styled: float = 1.0  # share of the amplitude that is the pool's
    entropy: float = 0.005  # lambda_ent
    eta: float = 2.0  # of the robust entropy
    strong: float = 0.5  # share of the strong view in the labelled term; the paper has one view
    pseudo: float = 0.0  # weight of the pseudo-labels that were written before the run: their second round
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool, its style too

    def __post_init__(self) -> None:
        check(self, shares=("beta", "styled", "strong"), positive=("eta",))
        check(self, weights=("entropy", "pseudo", "unsupervised"))

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels, pool = batch.labeled.labels, batch.unlabeled
        share = self.styled * min(self.unsupervised, 1.0)

        def there(images: Tensor) -> Tensor:
            return in_style(images, pool.weak, beta=self.beta, share=share)

        views = there(batch.labeled.strong), there(batch.labeled.weak)
        logits = nets.student(torch.cat([*views, pool.strong])).logits  # batch norm over all three
        on_strong, on_weak, noisy = logits.split([len(labels), len(labels), len(pool.strong)])
        unsure = mean_or_zero(robust_entropy(noisy, eta=self.eta))
        return {
            "task": two_view_cross_entropy(on_weak, on_strong, labels, share=self.strong),
            "entropy": self.unsupervised * self.entropy * unsure,
            "pseudo": self.unsupervised * self.pseudo * trusted_cross_entropy(noisy, pool.target, pool.weight),
        }
