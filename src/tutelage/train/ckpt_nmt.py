"""Online Distilling from Checkpoints for Neural Machine Translation. Wei, Huang, Wang, Dai, Chen. NAACL 2019.
https://doi.org/10.18653/v1/N19-1192

    run = loop.begin(method, student, None, sizes, settings)
    for step in loop.fit(method, run, judged(method, run, batches, score), settings, ...): ...
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.distillation import soft_label_kl
from tutelage.methods.method import Method, check
from tutelage.models.average import average_into
from tutelage.train.loop import Run
from tutelage.types import Batch, Diverged, Losses, Nets, Network, Sizes

Score = Callable[[Network], float]  # higher is better, on images that nobody trains on


@dataclass(frozen=True, kw_only=True)
class CkptNMT(Method):
    """Learn from the best that you have been so far, as held-out images judge it.

    In the paper sentences are translated, word by word; here an image is one word. Before anything has been judged
    there is no teacher. A run ends with its moving average, as any does, not with its best. The numbers are from
    memory, unchecked.
    """

    teacher = "copy"
    pool = False
    every: int = 100  # steps from one judgement to the next
    weight: float = 1.0  # lambda, of the soft labels
    temperature: float = 1.0  # of the soft labels
    judge: Literal["student", "average"] = "student"  # or its moving average, the paper's variant

    def __post_init__(self) -> None:
        check(self, weights=("weight",), positive=("every", "temperature"))

    def init(self, student: Network, teacher: Network, sizes: Sizes) -> nn.Module:
        return Best()

    def loss(self, nets: Nets, batch: Batch) -> Losses:
        best, images = nets.extra, batch.labeled.strong
        assert isinstance(best, Best)
        said = nets.student(images).logits
        soft = soft_label_kl(said, nets.teacher(images).logits, temperature=self.temperature)
        return {
            "task": F.cross_entropy(said, batch.labeled.labels),
            "distillation": self.weight * best.score.isfinite() * soft,
        }


class Best(nn.Module):
    """The score of the teacher; -inf where nothing has been judged."""

    score: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("score", torch.tensor(-torch.inf))


def judged(method: CkptNMT, run: Run[Network, Nets], batches: Iterable[Batch], score: Score) -> Iterator[Batch]:
    """`batches`, for loop.fit. Before every one that follows on `method.every` more steps `run` is judged: what scores
    higher than its teacher becomes the teacher.

    A run that continues from a checkpoint is judged where it would have been. Raises Diverged where a score is no
    number.
    """
    for batch in batches:
        if run.step and run.step % method.every == 0:
            _judge(method, run, score)
        yield batch


def _judge(method: CkptNMT, run: Run[Network, Nets], score: Score) -> None:
    net, best = run.nets.student if method.judge == "student" else run.average, run.nets.extra
    assert isinstance(best, Best)
    found = float(score(net.eval()))
    if not math.isfinite(found):
        raise Diverged(f"the score of the student is {found} after step {run.step}. Lower optimiser.lr")
    if found > best.score:
        best.score.fill_(found)
        average_into(run.nets.teacher, net, decay=0.0)
