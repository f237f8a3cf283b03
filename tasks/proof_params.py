"""The sections `calibrate`, `evaluate`, `judge` and `report` of params.yaml: what a label and a model must show."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tasks.knobs import STRICT, Count, Open, Pattern, Share, check_limits


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """What a pseudo-label must promise before it is kept."""

    __pydantic_config__ = STRICT
    target_precision: Open = 0.9  # share of the kept labels that is to be right; higher keeps fewer
    confidence: Open = 0.9  # of the Clopper-Pearson lower bound
    floor: Share = 0.5  # no threshold below it
    cap: Share = 0.995  # threshold without evidence; one proven, or above a mistake of the hold-out, may be higher
    probe: Annotated[int, Field(ge=0)] = 2000  # pool images for the expected yield, for how often classes occur, and
    # for what the scores of a class without evidence promise; without any such a class needs `cap`
    in_distribution: Annotated[float, Field(ge=0.5, lt=1)] | None = None  # share of images like the hold-out's that
    # pass for images of the classes; what lies farther from labelled ones no student sees. null: all of the pool passes

    def __post_init__(self) -> None:
        check_limits(self.floor, self.cap)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """How a model is measured."""

    __pydantic_config__ = STRICT
    bins: Count = 15  # of the expected calibration error
    batch: Count = 256  # images at a time; more need more memory


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What a candidate must show on the frozen test split before it replaces the champion."""

    __pydantic_config__ = STRICT
    margin: Share = 0.0  # overall accuracy that the lower end of the interval may lack
    class_margin: Share = 0.05  # F1 that a class may lose, and accuracy that a slice may
    calibration_margin: Share = 0.05  # of the expected calibration error
    latency_ratio: Annotated[float, Field(gt=0)] = 1.5  # times the champion's time for an image, and its parameters
    resamples: Count = 2000  # of the bootstrap; more make the interval's ends steadier
    slices: Pattern = None  # what in an image's path names the slice of the test that it is of: its site, day or night


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page shows."""

    __pydantic_config__ = STRICT
    gallery: Annotated[int, Field(ge=0)] = 12  # images a row
