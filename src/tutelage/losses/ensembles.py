"""What several teachers say together, and whom of them to hear. No gradient reaches a teacher."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.relations import distances
from tutelage.losses.targets import weighted_mean

Mean = Literal["probabilities", "logits"]


def mean_answer(
    teachers: Float[Tensor, "m n c"], *, temperature: float = 1.0, mean: Mean = "probabilities"
) -> Float[Tensor, "n c"]:
    """Logits that say at `temperature` what `m` teachers say on average: the mean of their soft labels, or of their
    logits, which is the geometric mean of their soft labels, scaled to sum one."""
    if mean == "logits":
        return teachers.detach().mean(0)
    even = torch.full((teachers.shape[1], len(teachers)), 1 / len(teachers), device=teachers.device)
    return weighted_answer(teachers, even, temperature=temperature)


def weighted_answer(
    teachers: Float[Tensor, "m n c"], weights: Float[Tensor, "n m"], *, temperature: float = 1.0
) -> Float[Tensor, "n c"]:
    """Logits that at `temperature` say sum_m w_m softmax(z_m / T), for weights that sum to one. The weights learn.

    Liu, Zhang, Wang, Adaptive Multi-Teacher Multi-level Knowledge Distillation, 2020. https://arxiv.org/abs/2103.04062
    """
    soft = (teachers.detach() / temperature).softmax(-1)
    mixed = (weights.mT[..., None] * soft).sum(0)
    return temperature * mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log()


def voted_order(teachers: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "n n n"]:
    """At i, j, k: 1 where more teachers have j nearer to i than k nearer, -1 where fewer have, 0 where as many have."""
    apart = [distances(embedding.detach()) for embedding in teachers]
    votes = [(each[:, None, :] - each[:, :, None]).sign() for each in apart]
    return torch.stack(votes).sum(0).sign()


def voted_triplets(
    student: Float[Tensor, "n d"],
    teachers: Sequence[Float[Tensor, "n _"]],
    *,
    margin: float = 0.0,
    trust: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """[|h_i - h_p|^2 - |h_i - h_q|^2 + margin]_+, where the teachers' majority has p nearer to i than q; mean over all
    triples of three images that the vote decides, each counting the product of its images' trusts.

    You, Xu, Xu, Tao, Learning from Multiple Teacher Networks, KDD 2017. https://doi.org/10.1145/3097983.3098135
    """
    order, apart = voted_order(teachers), distances(student).square()
    pays = (order * (apart[:, :, None] - apart[:, None, :]) + margin).relu()
    weight = torch.ones(len(student), device=student.device) if trust is None else trust
    other = weight * (1 - torch.eye(len(student), device=student.device))
    counted = weight[:, None, None] * other[:, :, None] * other[:, None, :] * (order != 0)  # j = k is undecided
    return weighted_mean(pays.flatten(), counted.flatten())


def heard_rows(
    student: Float[Tensor, "n c"],
    teachers: Float[Tensor, "m n c"],
    heard: Float[Tensor, "n m"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, " n"]:
    """T^2 times the mean cross entropy to the soft labels of the teachers that are `heard` (1, or 0); 0 where none is.

    Yuan et al., Reinforced Multi-Teacher Selection for Knowledge Distillation, AAAI 2021.
    https://arxiv.org/abs/2012.06048
    """
    soft = (teachers.detach() / temperature).softmax(-1)
    apart = -(soft * F.log_softmax(student / temperature, dim=-1)).sum(-1)  # [m, n]
    return temperature**2 * (heard * apart.mT).sum(-1) / heard.sum(-1).clamp_min(1)


def log_probability(logits: Float[Tensor, "*n"], chosen: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Of independent choices, each "yes" (1) with the probability sigmoid(logit)."""
    return -F.binary_cross_entropy_with_logits(logits, chosen, reduction="none")


def reinforce(
    logits: Float[Tensor, "n m"], chosen: Float[Tensor, "n m"], advantage: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """- mean advantage x log-probability of what was chosen: going down it makes likelier what did well.

    Williams, Simple statistical gradient-following algorithms, Machine Learning, 1992.
    """
    return -(advantage.detach()[:, None] * log_probability(logits, chosen)).sum(-1).mean()
