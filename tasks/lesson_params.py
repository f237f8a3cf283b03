"""The section `lesson` of params.yaml, and how a link of the compression chain names a loop of its own."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.knobs import STRICT, Count, parse_named
from tasks.loops import LIKE, LOOPS, Loop


def parse_loop(value: Any) -> Any:
    """{"name": "metadistil", "alpha": 0.5} -> MetaDistil(alpha=0.5); {"name": "kdfm"} -> KDFM; null stays null."""
    if value is None:
        return None
    if isinstance(value, dict) and value.get("name") in LIKE:
        loop, defaults = LIKE[value["name"]]
        value = {**asdict(defaults), **value, "name": loop}
    return parse_named(value, LOOPS, "loops")


@dataclass(frozen=True, kw_only=True)
class LessonParams:
    """One run of a loop of its own."""

    __pydantic_config__ = STRICT
    steps: Count  # of what is trained in the end
    labelled_batch: Annotated[int, Field(gt=1)]
    network: dict[str, Any] = field(default_factory=dict)  # fields of `network` that what is trained has otherwise
    start: Literal["teacher", "scratch"] = "scratch"  # weights that it begins with
    learn: Annotated[Loop, BeforeValidator(parse_loop)]
