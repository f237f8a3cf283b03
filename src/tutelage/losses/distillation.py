"""Losses that pass on what a teacher answers: soft labels, and targets made from them."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.losses.relations import distances
from tutelage.losses.targets import mean_or_zero

Reduction = Literal["batchmean", "mean"]


def soft_label_kl(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    *,
    temperature: float = 1.0,
    reduction: Reduction = "batchmean",
) -> Float[Tensor, ""]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) of logits: how far the student is from the soft labels.

    T^2 keeps the size of the gradient when T changes. "batchmean" is the sum over classes, averaged over the batch;
    "mean" also divides by the classes, which is what `nn.KLDivLoss()` does and several published weights assume.

    Hinton et al., Distilling the Knowledge in a Neural Network, 2015, sec. 2. https://arxiv.org/abs/1503.02531
    """
    return mean_or_zero(kl_rows(student, teacher, temperature=temperature, reduction=reduction))


def kl_rows(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    *,
    temperature: float = 1.0,
    reduction: Reduction = "batchmean",
    teacher_learns: bool = False,
) -> Float[Tensor, " n"]:
    """`soft_label_kl` of each sample: its mean over the samples is that loss.

    No gradient reaches `teacher`, unless `teacher_learns`.
    """
    wanted = F.log_softmax((teacher if teacher_learns else teacher.detach()) / temperature, dim=-1)
    said = F.log_softmax(student / temperature, dim=-1)
    parts = F.kl_div(said, wanted, reduction="none", log_target=True)  # [n, c]
    return temperature**2 * _over_classes(parts, reduction)


def oracle_rows(
    student: Float[Tensor, "n c"],
    teachers: Float[Tensor, "m n c"],
    labels: Int[Tensor, " n"],
    *,
    share: float,
    temperature: float = 4.0,
) -> Float[Tensor, " n"]:
    """(1 - share) cross entropy + share T^2 KL to the mean soft label of those of `m` teachers that are right.

    Where none is right it is the cross entropy alone, and all of it. No gradient reaches `teachers`.

    Kang, Mun, Han, Towards Oracle Knowledge Distillation with Neural Architecture Search, AAAI 2020.
    https://arxiv.org/abs/1911.13019
    """
    teachers = teachers.detach()
    right = (teachers.argmax(-1) == labels).to(student.dtype)  # [m, n]
    count = right.sum(0)
    soft = (teachers / temperature).softmax(-1)
    # Where none is right, the mean of none: any distribution will do, for its divergence is not counted.
    oracle = torch.where(count[:, None] > 0, (right[..., None] * soft).sum(0) / count.clamp_min(1)[:, None], soft[0])
    said = F.log_softmax(student / temperature, dim=-1)
    divergence = temperature**2 * F.kl_div(said, oracle, reduction="none").sum(-1)
    trust = share * (count > 0)
    return (1 - trust) * F.cross_entropy(student, labels, reduction="none") + trust * divergence


def target_kl(
    logits: Float[Tensor, "n c"], target: Float[Tensor, "n c"], *, reduction: Reduction = "batchmean"
) -> Float[Tensor, ""]:
    """KL(target || softmax(logits)) for targets that are distributions. Reductions as in `soft_label_kl`."""
    parts = F.kl_div(F.log_softmax(logits, dim=-1), target, reduction="none")
    return mean_or_zero(_over_classes(parts, reduction))


def virtual_teacher(
    labels: Int[Tensor, " n"],
    classes: int,
    *,
    correct: float = 0.99,
    temperature: float = 20.0,
    form: Literal["code", "power"] = "code",
) -> Float[Tensor, "n c"]:
    """The soft labels of a teacher that exists on paper only: p = `correct` for the label, the rest shared evenly.

    "power" softens p to p^(1/T), normalised, as softmax(logits / T) would. "code" is softmax(p / T), what the authors
    run: they soften the probabilities as if those were logits, so the target is nearly uniform.

    Tf-KD_reg of Yuan et al., Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020.
    https://arxiv.org/abs/1909.11723
    """
    other = (1 - correct) / (classes - 1)
    p = torch.full((len(labels), classes), other, device=labels.device).scatter(1, labels[:, None], correct)
    return (p / temperature if form == "code" else p.log() / temperature).softmax(-1)


def alike_classes(
    labels: Int[Tensor, " n"], rows: Float[Tensor, "c d"], *, closest: int, scale: float = 1.0
) -> Float[Tensor, "n c"]:
    """A distribution over the `closest` classes to each label, itself one of them: softmax(-scale x distance of rows).

    A row is what a classifier embeds a class in. Reconstructed: the formula of Hahn and Choi, Self-Knowledge
    Distillation in Natural Language Processing, RANLP 2019, could not be checked. https://arxiv.org/abs/1908.01851
    """
    near = -scale * distances(rows.detach())[labels]
    kept = near.topk(min(closest, len(rows)), dim=-1).indices
    return torch.full_like(near, -torch.inf).scatter(1, kept, near.gather(1, kept)).softmax(-1)


def permuted_dark_knowledge(probabilities: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Each row with all but its largest probability shuffled: the teacher's certainty without what it confuses.

    Random numbers come from torch's state. DKPP of Furlanello et al., Born-Again Neural Networks, ICML 2018.
    https://arxiv.org/abs/1805.04770
    """
    top = probabilities.argmax(-1, keepdim=True)
    places = (
        torch.zeros_like(probabilities).scatter(1, top, -1.0).argsort(stable=True, dim=-1)
    )  # the largest, then the rest
    shuffled = (
        torch.rand_like(probabilities).scatter(1, top, -1.0).argsort(-1)
    )  # the largest, then the rest in any order
    return torch.empty_like(probabilities).scatter(1, places, probabilities.gather(1, shuffled))


def _over_classes(parts: Float[Tensor, "n c"], reduction: Reduction) -> Float[Tensor, " n"]:
    return parts.sum(-1) if reduction == "batchmean" else parts.mean(-1)
