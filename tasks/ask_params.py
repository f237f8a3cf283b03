"""The section `ask` of params.yaml: which images of the pool people are asked about."""

from dataclasses import dataclass
from typing import Literal

from tasks.knobs import STRICT, Count


@dataclass(frozen=True, kw_only=True)
class AskParams:
    """How many images, and what makes one worth a person's time."""

    __pydantic_config__ = STRICT
    images: Count = 100  # that people are asked to label
    by: Literal["margin", "random"] = "margin"  # random is what margin has to beat
    among: Count = 10  # times as many images of small margins that are clustered, so that near-copies are asked once
