"""What a student's tokens lack to be a teacher's, for transformers. One number for each image unless said otherwise."""

import math

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.losses.distillation import kl_rows
from tutelage.losses.targets import weighted_mean
from tutelage.precision import full_precision


def patient_rows(student: Float[Tensor, "m n d"], teacher: Float[Tensor, "m n d"]) -> Float[Tensor, " n"]:
    """Mean squared difference, over m layers and d elements, of tokens scaled to length one. No gradient to `teacher`.

    Of one opposite pair it is 4 / d. Sun et al., Patient Knowledge Distillation, EMNLP 2019, eq. 7, as the mean that
    the authors run. https://arxiv.org/abs/1908.09355
    """
    apart = F.normalize(student, dim=-1) - F.normalize(teacher.detach(), dim=-1)
    return apart.square().mean((0, 2))


def cosine_apart(student: Float[Tensor, "*n d"], teacher: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
    """1 - cos of each token, from 0 to 2. No gradient to `teacher`.

    The alignment of Sanh et al., DistilBERT, 2019, sec. 3. https://arxiv.org/abs/1910.01108
    """
    return 1 - F.cosine_similarity(student, teacher.detach(), dim=-1)


def attention_kl_rows(student: Float[Tensor, "n a l l"], teacher: Float[Tensor, "n a l l"]) -> Float[Tensor, " n"]:
    """KL(teacher || student) of where each token looks: a softmax over keys, the mean over a heads and l queries.

    Takes scores, before the softmax. Aguilar et al., Knowledge Distillation from Internal Representations, AAAI 2020,
    eq. 1. https://arxiv.org/abs/1910.03723
    """
    parts: Tensor = kl_rows(student.flatten(0, 2), teacher.flatten(0, 2)).unflatten(0, student.shape[:3])
    return parts.mean((1, 2))


def value_relations(values: Float[Tensor, "n a l v"]) -> Float[Tensor, "n a l l"]:
    """Scaled inner products of the values of each head, for `attention_kl_rows`: widths v may differ, heads may not.

    Wang et al., MiniLM, NeurIPS 2020, sec. 3.2. https://arxiv.org/abs/2002.10957
    """
    with full_precision(values):
        products: Tensor = values @ values.mT
    return products / math.sqrt(values.shape[-1])


def words_kl(
    student: Float[Tensor, "n l v"],
    teacher: Float[Tensor, "n l v"],
    weight: Float[Tensor, "n l"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """T^2 KL(teacher || student) over v words, the mean over tokens in which the weights count.

    No gradient to `teacher`. As Sanh et al., DistilBERT, 2019. https://arxiv.org/abs/1910.01108
    """
    rows = kl_rows(student.flatten(0, 1), teacher.flatten(0, 1), temperature=temperature)
    return weighted_mean(rows, weight.flatten())


def words_cross_entropy(
    said: Float[Tensor, "n l v"], words: Int[Tensor, "n l"], weight: Float[Tensor, "n l"]
) -> Float[Tensor, ""]:
    """Masked modelling: cross entropy of each token's word, the mean over tokens in which the weights count."""
    rows = F.cross_entropy(said.flatten(0, 1), words.flatten(), reduction="none")
    return weighted_mean(rows, weight.flatten())
