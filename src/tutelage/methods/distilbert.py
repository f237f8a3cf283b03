"""DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter. Sanh, Debut, Chaumond, Wolf. 2019.
https://arxiv.org/abs/1910.01108"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.data.patches import hide, mean_colours
from tutelage.losses.targets import weighted_mean
from tutelage.losses.tokens import cosine_apart, words_cross_entropy, words_kl
from tutelage.methods.method import Method, check, look
from tutelage.models.blocks import begin_with, grid
from tutelage.models.heads import PatchWords
from tutelage.types import Batch, Losses, Nets, Network, Sizes

LEVELS = 8  # of a colour: 512 words


@dataclass(frozen=True, kw_only=True)
class DistilBERT(Method):
    """Begin with every second block of the teacher; then guess hidden parts as it does and keep its tokens' directions.

    The paper's words are tokens of text. Here a word is the mean colour of a patch of the pool (ViT, app. B.1.2); the
    teacher, who never guessed any, learns to by a head of its own on tokens that stay. The paper tunes for a task
    afterwards, here labels are learned at the same time. Its weights are from memory of the code, unchecked.
    """

    tokens = True
    words: float = 5.0  # alpha_ce, of the teacher's words
    temperature: float = 2.0  # T of both, in the words
    guess: float = 2.0  # alpha_mlm, of the true words
    cosine: float = 1.0  # alpha_cos, of the last tokens
    ratio: float = 0.15  # chance that a patch is hidden, BERT's; all that is chosen is hidden
    task: float = 1.0  # of cross entropy on labelled images
    unsupervised: float = 1.0  # the guard's factor on what comes from the pool

    def __post_init__(self) -> None:
        check(self, weights=("words", "guess", "cosine", "task", "unsupervised"), positive=("temperature",))
        check(self, shares=("ratio",))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        begin_with(student, teacher)
        return PatchWords(student.embedding_width, teacher.embedding_width, LEVELS**3)

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        labels, pool = batch.labeled.labels, batch.unlabeled.strong
        rows, columns = grid(nets.teacher)
        cells = torch.rand(len(pool), rows, columns, device=pool.device) < self.ratio
        hidden = hide(pool, cells, block=pool.shape[-1] // columns)
        student, ours = look(nets.student, torch.cat([batch.labeled.strong, hidden]), "hidden")
        _, theirs = look(nets.teacher, hidden if len(hidden) else batch.labeled.strong, "hidden")
        mine, other = ours.last[len(labels) :], theirs.last[: len(hidden)]
        patches = cells.flatten(1).float()
        said, told = nets.extra(mine[:, -rows * columns :], other[:, -rows * columns :])
        truth = mean_colours(pool, (rows, columns), levels=LEVELS)
        own, teachers = (words_cross_entropy(each, truth, patches) for each in (said, told))
        cosine = cosine_apart(mine, other).flatten()
        return {
            "task": self.task * F.cross_entropy(student.logits[: len(labels)], labels),
            "words": self.unsupervised * self.words * words_kl(said, told, patches, temperature=self.temperature),
            "guess": self.unsupervised * self.guess * own,
            "teacher_guess": self.unsupervised * teachers,
            "cosine": self.unsupervised * self.cosine * weighted_mean(cosine, torch.ones_like(cosine)),
        }
