"""Losses on strings. A string is symbols, then END, then PAD (-1), of which nothing is asked."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.losses.distillation import kl_rows
from tutelage.losses.targets import mean_or_zero, soft_cross_entropy, weighted_mean
from tutelage.losses.tokens import words_cross_entropy
from tutelage.precision import full_precision


def string_nll(logits: Float[Tensor, "n l v"], words: Int[Tensor, "n l"]) -> Float[Tensor, ""]:
    """-log p(words | image), the mean over symbols and ENDs. With a teacher's words it is sequence-level distillation.

    Kim and Rush, Sequence-Level Knowledge Distillation, EMNLP 2016, sec. 3.2. https://arxiv.org/abs/1606.07947
    """
    return words_cross_entropy(logits, words.clamp_min(0), (words >= 0).to(logits.dtype))


def word_distillation(
    logits: Float[Tensor, "n l v"], teacher: Float[Tensor, "n l v"], words: Int[Tensor, "n l"], *, share: float
) -> Float[Tensor, ""]:
    """(1 - share) NLL + share sum_v q(v) (-log p(v)), the mean over symbols and ENDs.

    q is the teacher's answer at each place after the same symbols; `teacher` are its logits, and have no gradient.
    Kim and Rush 2016, sec. 3.1.
    """
    soft = soft_cross_entropy(logits.flatten(0, 1), teacher.detach().flatten(0, 1).softmax(-1))
    there = (words >= 0).flatten().to(logits.dtype)
    return (1 - share) * string_nll(logits, words) + share * weighted_mean(soft, there)


def ctc(logits: Float[Tensor, "n t v"], words: Int[Tensor, "n l"]) -> Float[Tensor, ""]:
    """-log of the probability of all alignments of t frames, the mean over rows of each one's by its length.

    The last of the v classes is the blank and stands where END does: it is no symbol here. Graves et al., Connectionist
    Temporal Classification, ICML 2006. https://doi.org/10.1145/1143844.1143891
    """
    blank = logits.shape[-1] - 1
    there = (words >= 0) & (words != blank)
    with full_precision(logits):
        said = F.log_softmax(logits.float(), dim=-1).transpose(0, 1)  # [t, n, v]
    frames = torch.full((len(logits),), logits.shape[1], dtype=torch.long)
    lengths = there.sum(1)
    return F.ctc_loss(said, words.masked_fill(~there, 0), frames, lengths.cpu(), blank=blank)


def domain_frame_kl(
    logits: Float[Tensor, "n t v"], teachers: Float[Tensor, "m n t v"], domains: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """KL(teacher || student) of each frame, the mean over frames; of a row only its own domain's teacher is heard.

    Ghorbani et al., Advancing multi-accented LSTM-CTC speech recognition using a domain specific student-teacher
    learning paradigm, 2018, whose formula is from memory. https://arxiv.org/abs/1809.06833
    """
    own = teachers[domains, torch.arange(len(domains), device=domains.device)]
    return mean_or_zero(kl_rows(logits.flatten(0, 1), own.flatten(0, 1)))
