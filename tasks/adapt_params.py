"""The section `adapt` of params.yaml: from a labelled source to a target without labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.fits import check_alone
from tasks.knobs import STRICT, Count, Folder, Open, Places, Share, StageName, Train, name_in, parse_named
from tasks.turn_params import PlanTurns
from tutelage.methods import METHODS, Method
from tutelage.train.adaptsegnet import AdaptSegNet
from tutelage.train.bdl import BDL
from tutelage.train.cycada import IMAGES, CyCADA
from tutelage.train.cyclegan import CycleGAN
from tutelage.train.tscl import TSCL
from tutelage.types import Shift

LOOPS: dict[str, type[AdaptSegNet] | type[BDL]] = {"adaptsegnet": AdaptSegNet, "bdl": BDL}


def parse_shared(value: Any, known: Mapping[str, type[Any]], what: str) -> Any:
    """As parse_named, of a candidate that says itself how many steps there are."""
    if name_in(value) == "bdl" and "steps" in value:
        raise ValueError("bdl takes its steps from the candidate's: leave out learn.steps")
    return parse_named(value, known, what)


def parse_learner(value: Any) -> Any:
    """{"name": "adaptsegnet", "form": "bce"} -> AdaptSegNet(form="bce"); else a method."""
    if name_in(value) == "cycada":
        raise ValueError("cycada goes on from `translated` and is always a candidate: see the section adapt.features")
    return parse_shared(value, {**LOOPS, **METHODS}, "ways to adapt")


@dataclass(frozen=True, kw_only=True)
class DriftParams:
    """When new images no longer look like the labelled ones, or are of other classes."""

    __pydantic_config__ = STRICT
    window: Annotated[int, Field(gt=1)] = 400  # images of each set that are compared, at most
    level: Open = 0.01  # chance of an alarm where nothing has moved
    draws: Count = 999  # of each permutation test; 8 / level at least
    beta: Share = 0.05  # share of the side that is a low frequency, where images are seen in the source's style


@dataclass(frozen=True, kw_only=True)
class Domains:
    """The demo's images: garments on black, and garments before backgrounds."""

    __pydantic_config__ = STRICT
    source: Count  # images of all classes together, with their label
    target: Count  # without
    test: Count  # of the target, with


@dataclass(frozen=True, kw_only=True)
class DomainFolders:
    """Which images there are: names inside `root`."""

    __pydantic_config__ = STRICT
    root: Folder  # folder that holds the names below
    source: Places  # class folders, a CSV (image, label), or tar shards; of several domains {NAME: one of these}
    target: str  # a folder of images, or tar shards
    test: str  # of the target, like `source`; only evaluated on


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to adapt."""

    __pydantic_config__ = STRICT
    steps: Count  # updates of the weights; time grows with them
    labelled_batch: Annotated[int, Field(gt=1)]  # images of the source a step
    pool_batch: Annotated[int, Field(ge=0)]  # images of the target a step; 0: none
    learn: Annotated[Method | AdaptSegNet | BDL, BeforeValidator(parse_learner)]  # a method, or adaptsegnet or bdl
    start: Literal["source", "scratch"] = "source"  # weights that it begins with
    translated: bool = False  # labelled images are seen as the translator makes them
    turns: PlanTurns | None = None  # of several domains with labels: one a turn; null: all at every step

    def __post_init__(self) -> None:
        loop = not isinstance(self.learn, Method)
        if self.turns is not None and not isinstance(self.turns.learn, TSCL):
            raise ValueError("domains have no specialists to compare a student with. Write turns.learn: {name: tscl}")
        if self.turns is not None and (loop or self.steps % self.turns.every):
            raise ValueError(
                f"turns are of {self.turns.every} steps, {type(self.learn).__name__} has {self.steps}: turns take a "
                "method, no loop of its own, and a multiple of `every` steps"
            )
        if loop and (self.translated or not self.pool_batch):
            raise ValueError(
                f"translated is {self.translated} and pool_batch {self.pool_batch}, but {type(self.learn).__name__} is "
                "a loop of its own that reads the target: write pool_batch of 1 or more, and leave out `translated`"
            )
        if isinstance(self.learn, BDL):
            self.learn.sharing(self.steps)


@dataclass(frozen=True, kw_only=True)
class Translate:
    """How long the generators learn."""

    __pydantic_config__ = STRICT
    steps: Count  # updates of the weights; time grows with them
    batch: Annotated[int, Field(gt=0)]  # of each domain
    cyclegan: CycleGAN = IMAGES


@dataclass(frozen=True, kw_only=True)
class Features:
    """The feature stage of CyCADA, after `translated`."""

    __pydantic_config__ = STRICT
    steps: Count  # updates of the weights; time grows with them
    batch: Annotated[int, Field(gt=0)]  # of each domain
    cycada: CyCADA = field(default_factory=CyCADA)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One round on the target: who labels it."""

    __pydantic_config__ = STRICT
    teacher: str  # folder of a model: of the first round the source's or a candidate's, then of the guard before
    translated: bool = False  # labelled images are seen as the translator makes them


@dataclass(frozen=True, kw_only=True)
class Choose:
    """Without a label of the target."""

    __pydantic_config__ = STRICT
    margin: Share = 0.05  # accuracy on held-out source images that a candidate may lack
    images: Count = 2000  # of the target that validators look at


@dataclass(frozen=True, kw_only=True)
class Adapt:
    """From a labelled source to a target without labels."""

    __pydantic_config__ = STRICT
    domains: Domains
    ingest: DomainFolders
    holdout: Open  # share of the source kept from training, for drift and the guard of the choice
    source: Train  # the model of the source alone: strong views and a moving average, as all have
    drift: DriftParams
    translate: Translate
    candidates: dict[StageName, Candidate]
    answers: dict[Shift, str | None]  # which of them answers a kind of drift that `retrain` sees; null, none: only told
    features: Features
    student: Train  # of each round
    rounds: dict[int, Generation]
    choose: Choose

    def __post_init__(self) -> None:
        check_alone({"source": self.source})
        for kind, name in self.answers.items():
            if name is not None and (name not in self.candidates or self.candidates[name].translated):
                free = [known for known, item in self.candidates.items() if not item.translated]
                raise ValueError(
                    f"answers.{kind} is {name!r}; a candidate that needs no translator answers: {', '.join(free)}"
                )
        _see_that_rounds_are_chained(self.rounds, [*self.candidates, "cycada"])
        if "translated" not in self.candidates or {"source", "cycada"} & set(self.candidates):
            raise ValueError(
                f"candidates are {', '.join(self.candidates)}: `translated` must be one, which cycada goes on from, "
                "`cycada` none, which `features` describes, and `source` none, which adapts to nothing: rename it"
            )


def _see_that_rounds_are_chained(rounds: dict[int, Generation], candidates: list[str]) -> None:
    first = ["work/adapt/source", *(f"work/adapt/candidates/{name}" for name in candidates)]
    if list(rounds) != list(range(1, len(rounds) + 1)) or not rounds:
        raise ValueError(f"rounds are {list(rounds)}: number them from 1, and write one at least")
    if rounds[1].teacher not in first:
        raise ValueError(f"rounds.1.teacher is {rounds[1].teacher!r}, which is none of {', '.join(first)}")
    for n, item in rounds.items():
        above = f"work/adapt/rounds/{n - 1}/guard"
        if n > 1 and item.teacher != above:
            raise ValueError(f"rounds.{n}.teacher is {item.teacher!r}, but the round before it makes {above}")
