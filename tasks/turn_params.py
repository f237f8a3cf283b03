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


@dataclass(frozen=True, kw_only=True)
class PlanTurns:
    """How long a turn is, and what decides on the tasks, or the domain, of the next one."""

    __pydantic_config__ = STRICT
    every: Count  # steps
    learn: Annotated[Guide, BeforeValidator(parse_guide)]  # who decides, by name

    def __post_init__(self) -> None:
        gap_of(self.learn, self.every)
