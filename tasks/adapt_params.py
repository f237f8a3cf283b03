"""The section `adapt` of params.yaml: from a labelled source to a target without labels."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from tasks.knobs import STRICT, Count, Open, Share, Train, parse_method
from tutelage.methods import Method
from tutelage.train.adaptsegnet import AdaptSegNet
from tutelage.train.cycada import IMAGES, CyCADA
from tutelage.train.cyclegan import CycleGAN


def parse_learner(value: Any) -> Any:
    """{"name": "adaptsegnet", "form": "bce"} -> AdaptSegNet(form="bce"); else a method."""
    if isinstance(value, dict) and value.get("name") == "adaptsegnet":
        fields = {key: content for key, content in value.items() if key != "name"}
        return TypeAdapter(AdaptSegNet).validate_python(fields)
    return parse_method(value)


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
    root: str
    source: str  # class folders, a CSV (image, label), or tar shards
    target: str  # a folder of images, or tar shards
    test: str  # of the target, like `source`; only evaluated on


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to adapt."""

    __pydantic_config__ = STRICT
    steps: Count
    labelled_batch: Annotated[int, Field(gt=1)]
    pool_batch: Annotated[int, Field(ge=0)]
    learn: Annotated[Method | AdaptSegNet, BeforeValidator(parse_learner)]
    start: Literal["source", "scratch"] = "source"  # weights that it begins with
    translated: bool = False  # labelled images are seen as the translator makes them


@dataclass(frozen=True, kw_only=True)
class Translate:
    """How long the generators learn."""

    __pydantic_config__ = STRICT
    steps: Count
    batch: Annotated[int, Field(gt=0)]  # of each domain
    cyclegan: CycleGAN = IMAGES


@dataclass(frozen=True, kw_only=True)
class Features:
    """The feature stage of CyCADA, after `translated`."""

    __pydantic_config__ = STRICT
    steps: Count
    batch: Annotated[int, Field(gt=0)]  # of each domain
    cycada: CyCADA = field(default_factory=CyCADA)


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
    candidates: dict[str, Candidate]
    features: Features
    choose: Choose

    def __post_init__(self) -> None:
        if "translated" not in self.candidates or "cycada" in self.candidates:
            raise ValueError(
                f"candidates are {', '.join(self.candidates)}: `translated` must be one, which cycada goes on from, "
                "and `cycada` none, which `features` describes"
            )
