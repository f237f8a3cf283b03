"""The section `lesson` of params.yaml, and how a link of the compression chain names a loop of its own."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.knobs import STRICT, Count, name_in, parse_named
from tasks.loops import LIKE, LOOPS, Loop, NASStudent, OracleGrowth, UninformedStudents
from tutelage.types import BadInput


def parse_loop(value: Any) -> Any:
    """{"name": "metadistil", "alpha": 0.5} -> MetaDistil(alpha=0.5); {"name": "kdfm"} -> KDFM; null stays null."""
    if value is None:
        return None
    if (name := name_in(value)) in LIKE:
        loop, defaults = LIKE[name]
        value = {**asdict(defaults), **value, "name": loop}
    return parse_named(value, LOOPS, "loops")


def check_begins(learn: Loop | None, entry: str, start: str) -> None:
    """Raises BadInput where `learn` makes networks of its own, which cannot begin with their teacher's weights."""
    if start == "teacher" and isinstance(learn, NASStudent | OracleGrowth | UninformedStudents):
        name = next(name for name, kind in LOOPS.items() if kind is type(learn))
        raise BadInput(f"{entry} is 'teacher', but {name} makes its networks itself: write {entry}: scratch")


@dataclass(frozen=True, kw_only=True)
class LessonParams:
    """One run of a loop of its own."""

    __pydantic_config__ = STRICT
    steps: Count  # of what is trained in the end
    labelled_batch: Annotated[int, Field(gt=1)]  # labelled images a step
    network: dict[str, Any] = field(default_factory=dict)  # fields of `network` that what is trained has otherwise
    start: Literal["teacher", "scratch"] = "scratch"  # weights that it begins with
    learn: Annotated[Loop, BeforeValidator(parse_loop)]  # a loop, by name

    def __post_init__(self) -> None:
        check_begins(self.learn, "start", self.start)
