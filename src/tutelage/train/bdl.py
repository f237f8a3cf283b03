"""Bidirectional Learning for Domain Adaptation of Semantic Segmentation. Li, Yuan, Vasconcelos. CVPR 2019.
https://arxiv.org/abs/1904.10620

A round translates the source under the eye of the current network (tutelage.train.cyclegan with TRANSLATION), adapts a
network to the target on the translated images (tutelage.train.adaptsegnet), and goes on with the same on pseudo-labels
of the target. For any network that answers with logits, of images [n c] or of pixels [n c h w].
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tutelage.methods.method import check
from tutelage.train import adaptsegnet, cyclegan
from tutelage.train.adaptsegnet import AdaptSegNet
from tutelage.train.adversarial import Pair, translated_pairs
from tutelage.train.cyclegan import CycleGAN
from tutelage.train.loop import Step
from tutelage.train.settings import Optimiser
from tutelage.types import IGNORE, BadInput

TRANSLATION = CycleGAN(perceptual=0.1, rebuilt=10.0)
Feed = Callable[[int, int, Tensor], Iterable[Pair]]
PHASES = ("translate", "align", "self_train")


@dataclass(frozen=True, kw_only=True)
class BDL:
    """Translate so that the network understands, train it on what was translated, begin again with the better one."""

    __pydantic_config__ = {"extra": "forbid"}
    translate: CycleGAN = TRANSLATION
    align: AdaptSegNet = field(default_factory=AdaptSegNet)
    cap: float = 0.9  # highest threshold of a pseudo-label
    steps: int = 1000  # of each phase; the authors': 80,000 of alignment and 120,000 of self-training
    rounds: int = 3  # of translation, alignment and self-training; time grows with them

    def __post_init__(self) -> None:
        check(self, shares=("cap",), positive=("steps", "rounds"))

    def sharing(self, steps: int) -> "BDL":
        """The same with `steps` in all, shared out among all phases of all rounds. Raises BadInput."""
        phases = len(PHASES) * self.rounds
        if steps % phases:
            raise BadInput(
                f"steps is {steps}, and bdl shares them among {len(PHASES)} phases of {self.rounds} rounds: write a "
                f"multiple of {phases}"
            )
        return replace(self, steps=steps // phases)


def class_thresholds(
    top: Float[Tensor, " n"], guess: Int[Tensor, " n"], classes: int, *, cap: float
) -> Float[Tensor, " c"]:  # fmt: skip
    """Of each class about the median of the top probabilities of what is predicted as it, `cap` at most: half is kept.

    The element at round(n / 2) of the sorted ones, as in the authors' code; 0 for a class that nothing is predicted as.
    """
    found = torch.zeros(classes, dtype=top.dtype, device=top.device)
    for label in range(classes):
        mine = top[guess == label].sort().values
        if len(mine):
            found[label] = mine[min(round(len(mine) / 2), len(mine) - 1)].clamp(max=cap)
    return found


def pseudo_labels(
    top: Float[Tensor, "n ..."], guess: Int[Tensor, "n ..."], classes: int, *, cap: float, own: Bool[Tensor, "n ..."]
) -> Int[Tensor, "n ..."]:  # fmt: skip
    """Predicted class of each image or pixel, of whose probability is `top`; IGNORE strictly below its class's
    threshold over all of them. What is not `own`, as what surrounds an image, is IGNORE and moves no threshold.
    """
    thresholds = class_thresholds(top[own], guess[own], classes, cap=cap)
    return torch.where((top < thresholds[guess]) | ~own, IGNORE, guess)


@dataclass
class Run:
    """All that changes over all rounds."""

    translator: cyclegan.Run
    aligner: adaptsegnet.Run
    pseudo: Int[Tensor, "m ..."]  # of the whole target, in its order
    own: Bool[Tensor, "m ..."]  # what is to be named: pixels that are an image's
    size: int  # pixels of an image's side
    step: int = 0

    def state_dict(self) -> dict[str, Any]:
        """What the run needs to go on as if it had never been cut, torch's random state included."""
        parts = {"translator": self.translator.state_dict(), "aligner": self.aligner.state_dict()}
        return {**parts, "pseudo": self.pseudo, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the run, and torch's random state, back to where `state` was taken."""
        self.translator.load_state_dict(state["translator"])
        self.aligner.load_state_dict(state["aligner"])
        self.pseudo.copy_(state["pseudo"])
        self.step = state["step"]


def begin(method: BDL, student: nn.Module, blank: Int[Tensor, "m ..."], settings: Optimiser, *, size: int) -> Run:
    """A run at step 0 from a network of the source that answers with a tuple of logits, as adaptsegnet's.

    `blank` has the shape of the labels of the whole target, and holds IGNORE where a pixel is no image's.
    """
    device = next(student.parameters()).device
    images = torch.zeros(2, 3, size, size, device=device)
    aligner = adaptsegnet.begin(method.align, student, images, settings)
    aligner.average.load_state_dict(student.state_dict())
    translator = cyclegan.begin(method.translate, size=size, device=device)
    return Run(translator, aligner, torch.full_like(blank, IGNORE), blank != IGNORE, size)


def fit(
    method: BDL, run: Run, feed: Feed, target: Callable[[], Iterable[Tensor]], settings: Optimiser
) -> Iterator[Step]:  # fmt: skip
    """All rounds from `run.step` on. `feed` gives the pairs of steps from one to another, with what is their own of the
    labels of the whole target that it is handed; `target` all images of the target in its order, a batch [n 3 h w] at
    a time. Steps count over all phases.
    """
    while run.step < len(PHASES) * method.steps * method.rounds:
        phase = PHASES[run.step // method.steps % len(PHASES)]
        if run.step % method.steps == 0:
            _enter(phase, method, run, target, settings)
        seen = feed(run.step, (run.step // method.steps + 1) * method.steps, run.pseudo)
        for step in _steps(phase, method, run, seen, settings):
            run.step += 1
            yield Step(run.step, step.terms)


def _enter(
    phase: str, method: BDL, run: Run, target: Callable[[], Iterable[Tensor]], settings: Optimiser
) -> None:  # fmt: skip
    """New optimisers and critics a phase; new generators a round; the network goes on from its average."""
    device = run.pseudo.device
    if phase == "translate":
        run.translator = cyclegan.begin(method.translate, size=run.size, device=device)
        return
    student, average = run.aligner.student, run.aligner.average
    student.load_state_dict(average.state_dict())
    run.aligner = adaptsegnet.begin(
        method.align, student, torch.zeros(2, 3, run.size, run.size, device=device), settings
    )
    run.pseudo.fill_(IGNORE)
    if phase == "self_train":
        with torch.no_grad():
            said = [run.aligner.average(images)[0].softmax(1).max(1) for images in target()]
        top, guess = (torch.cat(part) for part in zip(*said, strict=True))
        run.pseudo.copy_(pseudo_labels(top, guess, int(guess.max()) + 1, cap=method.cap, own=run.own))


def _steps(
    phase: str, method: BDL, run: Run, seen: Iterable[Pair], settings: Optimiser
) -> Iterator[Step]:  # fmt: skip
    if phase == "translate":
        watcher = run.aligner.average
        return cyclegan.fit(method.translate, run.translator, seen, watcher, settings, steps=method.steps)
    seen = translated_pairs(seen, run.translator.generators.there)
    return adaptsegnet.fit(method.align, run.aligner, seen, settings, steps=method.steps)
