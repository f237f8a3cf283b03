"""MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation. Hoyer, Dai, Wang, Van Gool. CVPR 2023.
https://arxiv.org/abs/2212.01322. On top of the class-mix of DACS: Tranheden, Olsson, Pinto, Svensson. WACV 2021.
https://arxiv.org/abs/2007.08702"""

from dataclasses import dataclass

import torch

from tutelage.data.fourier import in_style
from tutelage.data.patches import masked
from tutelage.losses.dense import counted_mean, pixel_cross_entropy
from tutelage.losses.uncertainty import robust_entropy
from tutelage.methods.method import check
from tutelage.methods.multitask.method import MultiMethod
from tutelage.methods.multitask.pixels import both_domains, class_mixed, pseudo_named, unnamed
from tutelage.models.average import follow
from tutelage.multi_types import MultiBatch, MultiNets
from tutelage.types import Losses


@dataclass(frozen=True, kw_only=True)
class MIC(MultiMethod):
    """Name the pixels of images without labels as a moving average of yourself does, which sees them as they are: with
    objects of labelled images pasted on, and where most of them is hidden.

    Labelled images are the source, the pool the target. Mean Teacher is mixed 0 and ratio 0; class-mix alone is
    masked 0; FDA is mixed 0, masked 0, styled 1 and entropy 0.005. Other heads learn from the source alone. The
    authors see the target in other colours than the teacher does; here both see one view.
    """

    teacher = "copy"
    mixed: float = 1.0  # weight of target images with half of the classes of a labelled one pasted on; DACS, alg. 1
    masked: float = 1.0  # lambda_M, weight of target images of which squares are hidden
    block: float = 0.125  # side of a hidden square, share of the image's: theirs is 64 of 512 pixels
    ratio: float = 0.7  # r, chance that a square is hidden
    confidence: float = 0.968  # tau; an image counts by the share of its pixels that the teacher is as sure of, eq. 7
    decay: float = 0.999  # alpha, at most
    styled: float = 0.0  # share of the source's low amplitudes that is the target's; FDA, eq. 3
    beta: float = 0.05  # share of the side that is a low frequency; FDA
    entropy: float = 0.0  # lambda_ent, weight of being sure of the target; FDA, eq. 4
    eta: float = 2.0  # of the robust entropy
    unsupervised: float = 1.0  # factor on all that comes from the pool, its style too

    def __post_init__(self) -> None:
        check(self, shares=("block", "ratio", "confidence", "decay", "styled", "beta"), positive=("eta",))
        check(self, weights=("mixed", "masked", "entropy", "unsupervised"))

    def loss(self, nets: MultiNets, batch: MultiBatch) -> Losses:
        share = self.styled * min(self.unsupervised, 1.0)
        style = batch.pool.images if share else batch.pool.images[:0]
        source = batch.labeled._replace(images=in_style(batch.labeled.images, style, beta=self.beta, share=share))
        plain = unnamed(batch.pool)
        if self.mixed or self.masked:
            plain = pseudo_named(nets.teacher, batch.pool, confidence=self.confidence)
        block = max(1, round(self.block * plain.images.shape[-1]))
        views = {
            "mixed": class_mixed(source, plain),
            "masked": plain._replace(images=masked(plain.images, block=block, ratio=self.ratio)),
            "entropy": plain._replace(weight=plain.own.float()),
        }
        scale = {name: self.unsupervised * getattr(self, name) for name in views}
        seen = {name: view if scale[name] else view.none() for name, view in views.items()}  # what is off costs nothing
        terms, logits = both_domains(nets.student, source, torch.cat([view.images for view in seen.values()]))
        for (name, view), said in zip(seen.items(), logits.split([len(v.images) for v in seen.values()]), strict=True):
            each = robust_entropy(said, eta=self.eta) if name == "entropy" else pixel_cross_entropy(said, view.target)
            terms[name] = scale[name] * counted_mean(each, view.weight, view.own)
        return terms

    def after_step(self, nets: MultiNets, step: int) -> None:
        follow(nets.teacher, nets.student, step, most=self.decay)
