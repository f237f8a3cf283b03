"""Students that read strings, and what their teachers pass on: four works that are settings of one loop.

Sequence-Level Knowledge Distillation. Kim, Rush. EMNLP 2016. https://arxiv.org/abs/1606.07947
Understanding Knowledge Distillation in Non-autoregressive Machine Translation. Zhou, Neubig, Gu. ICLR 2020.
https://arxiv.org/abs/1911.02727
Explaining Sequence-Level Knowledge Distillation as Data-Augmentation for Neural Machine Translation. Gordon, Duh. 2019.
https://arxiv.org/abs/1912.03334
Advancing Multi-Accented LSTM-CTC Speech Recognition Using a Domain Specific Student-Teacher Learning Paradigm.
Ghorbani, Bulut, Hansen. SLT 2018. https://arxiv.org/abs/1809.06833

For vision, a sentence is an image of things in a row, and an accent its style. Formulas are from memory of the papers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from tutelage.data.batches import on_device
from tutelage.data.rows import Strings, symbols_of
from tutelage.losses.sequences import ctc, domain_frame_kl, string_nll, word_distillation
from tutelage.methods.method import check
from tutelage.metrics.strings import similarity
from tutelage.models.readers import Reader, ReaderSpec
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Losses


@dataclass(frozen=True, kw_only=True)
class SequenceKD:
    """Read what your teacher reads: its strings, chosen from a beam, and how sure it is of each symbol."""

    __pydantic_config__ = {"extra": "forbid"}
    word: float = 0.5  # alpha, share of the teacher's answer to each symbol; needs an autoregressive student
    mix: float = 1.0  # share of rows whose string is the teacher's; the others keep the real one
    choose: Literal["best", "nearest"] = "best"  # of the beam: the likeliest, or the most like the real string
    beam: int = 5  # strings that the teacher keeps while it reads; more cost time
    hypotheses: int = 1  # of the best of the beam, one of which is drawn each time a row is seen

    def __post_init__(self) -> None:
        check(self, shares=("word", "mix"))
        if not 1 <= self.hypotheses <= self.beam:
            raise BadInput(f"hypotheses is {self.hypotheses} and beam {self.beam}: write 1 to as many as the beam has")
        if self.choose == "nearest" and self.hypotheses > 1:
            raise BadInput("choose is nearest, which is one string, and hypotheses more than 1. Set it to 1")

    def loss(self, student: Reader, teachers: Sequence[Reader], seen: Strings) -> Losses:
        """NLL of the strings to learn, and with `word` the teacher's answers to them. `teachers` is one or none."""
        if not teachers:
            return {"task": string_nll(student(seen.images, seen.words), seen.words)}
        (teacher,) = teachers
        words = self.targets(teacher, seen)
        said = student(seen.images, words)
        if not self.word:
            return {"task": string_nll(said, words)}
        with torch.no_grad():
            told = teacher(seen.images, words)
        return {"task": word_distillation(said, told, words, share=self.word)}

    def targets(self, teacher: Reader, seen: Strings) -> Int[Tensor, "n l"]:
        """The strings to learn: of a share `mix` of the rows, drawn from torch's state, the teacher's."""
        if not self.mix:
            return seen.words
        answers = teacher.read(seen.images, self.beam)
        if self.choose == "nearest":
            chosen = nearest(answers, seen.words, end=teacher.classes)
        else:
            drawn = torch.randint(min(self.hypotheses, answers.shape[1]), (len(answers),)).to(answers.device)
            chosen = answers[torch.arange(len(answers), device=answers.device), drawn]
        distilled = (torch.rand(len(chosen)) < self.mix).to(chosen.device)
        return torch.where(distilled[:, None], chosen, seen.words)


@dataclass(frozen=True, kw_only=True)
class AccentCTC:
    """Of each style another teacher is heard, frame by frame, by a student that learns all of them."""

    __pydantic_config__ = {"extra": "forbid"}
    weight: float = 1.0  # lambda, of the frames

    def __post_init__(self) -> None:
        check(self, weights=("weight",))

    def loss(self, student: Reader, teachers: Sequence[Reader], seen: Strings) -> Losses:
        """CTC, and with one teacher a domain lambda x the divergence of each frame from its own domain's teacher."""
        said = student(seen.images, seen.words)
        if not teachers:
            return {"task": ctc(said, seen.words)}
        with torch.no_grad():
            told = torch.stack([teacher(seen.images, seen.words) for teacher in teachers])
        return {"task": ctc(said, seen.words), "frames": self.weight * domain_frame_kl(said, told, seen.domains)}


Works = SequenceKD | AccentCTC

SEQ_KD = SequenceKD()
NAT_KD = SequenceKD(word=0.0)  # of a student that answers all places at once
SEQKD_DA_REG = SequenceKD(word=0.0, mix=0.5, hypotheses=5)


def nearest(answers: Int[Tensor, "n k l"], words: Int[Tensor, "n l"], *, end: int) -> Int[Tensor, "n l"]:
    """Of each row's answers, best first, the first of those most similar to its real string. Kim and Rush, sec. 3.3."""
    chosen = []
    for row, real in zip(answers, symbols_of(words, end=end), strict=True):
        alike = [similarity(real, answer) for answer in symbols_of(row, end=end)]
        chosen.append(alike.index(max(alike)))
    return answers[torch.arange(len(answers)), torch.tensor(chosen)]


@dataclass
class Run(Resumable):
    """All that changes while training."""

    student: Reader
    optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "optimizer")


def begin(student: Reader, settings: Optimiser) -> Run:
    """A run at step 0, by Adam; the SGD of other loops was not tried on readers."""
    return Run(student, torch.optim.Adam(student.parameters(), lr=settings.lr))


def fit(
    method: Works, run: Run, batches: Iterable[Strings], settings: Optimiser, *, steps: int,
    teachers: Sequence[Reader] = (),
) -> Iterator[Step]:  # fmt: skip
    """Train from `run.step` on, one step a batch, where the student lies. Without teachers, from real strings alone.

    Raises BadInput where a work does not fit the readers, Diverged where a loss is not finite: the step before it is
    then the last that changed anything.
    """
    fits(method, run.student.spec, [teacher.spec for teacher in teachers])
    device = next(run.student.parameters()).device
    for teacher in teachers:
        teacher.eval().requires_grad_(False)
    for batch in batches:
        seen = Strings(*(on_device(x, device) for x in batch))
        set_rate(run.optimizer, settings.lr * schedule(run.step, steps, settings.warmup_steps))
        run.student.train()
        terms = method.loss(run.student, teachers, seen)
        terms = descend(run.optimizer, terms, settings, step=run.step + 1)
        run.step += 1
        yield Step(run.step, terms)


def fits(method: Works, student: ReaderSpec, teachers: Sequence[ReaderSpec]) -> None:
    """Raises BadInput where readers say other things than the work compares."""
    kinds = [spec.kind for spec in (student, *teachers)]
    if {kind == "ctc" for kind in kinds} != {isinstance(method, AccentCTC)}:
        raise BadInput(
            f"readers are of kind {', '.join(kinds)}, and {type(method).__name__} learns: AccentCTC is for kind ctc "
            "alone, and SequenceKD for the others. Write student and teacher so"
        )
    if isinstance(method, SequenceKD) and method.word and "parallel" in kinds and teachers:
        raise BadInput(
            f"word of SequenceKD is {method.word}, and a parallel reader does not heed the symbols that answers "
            "follow. Write word: 0.0, or kind: autoregressive"
        )
