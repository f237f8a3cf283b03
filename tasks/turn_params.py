"""The section `turns` of a student of several tasks, or of a candidate of `adapt`, as typed values."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from tasks.knobs import STRICT, Count, parse_named
from tutelage.train.multilingual_nmt import MultilingualNMT
from tutelage.train.tscl import TSCL
from tutelage.train.turns import Guide, gap_of

GUIDES: dict[str, type[Guide]] = {"multilingual_nmt": MultilingualNMT, "tscl": TSCL}


def parse_guide(value: Any) -> Any:
    """{"name": "tscl", "variant": "window"} -> TSCL(variant="window")."""
    return parse_named(value, GUIDES, "guides of turns")


def parse_bandit(value: Any) -> Any:
    """{"name": "tscl", "variant": "window"} -> TSCL(variant="window")."""
    return parse_named(value, {"tscl": TSCL}, "guides of turns of domains")


@dataclass(frozen=True, kw_only=True)
class PlanTurns:
    """How long a turn is, and what decides on the tasks of the next one."""

    __pydantic_config__ = STRICT
    every: Count  # steps
    learn: Annotated[Guide, BeforeValidator(parse_guide)]

    def __post_init__(self) -> None:
        gap_of(self.learn, self.every)


@dataclass(frozen=True, kw_only=True)
class PlanDomains:
    """How long a turn is, and what decides which domain's labelled images the next one teaches."""

    __pydantic_config__ = STRICT
    every: Count  # steps
    learn: Annotated[TSCL, BeforeValidator(parse_bandit)]

    def __post_init__(self) -> None:
        gap_of(self.learn, self.every)
