"""What sections of params.yaml are made of: numbers with bounds, methods by name, training runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from tasks.loops import LIKE, LOOPS, UNLINKED
from tasks.mistakes import FEW, mistakes, nearest
from tutelage.methods import METHODS, Method
from tutelage.methods.detection import DETECTION_METHODS
from tutelage.methods.multitask import MULTITASK_METHODS
from tutelage.systems import SYSTEMS
from tutelage.types import BadInput

STRICT: Any = {"extra": "forbid", "allow_inf_nan": False}  # no JSON holds what is not finite
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # of torch, which takes no larger one
Share = Annotated[float, Field(ge=0, le=1)]
Open = Annotated[float, Field(gt=0, lt=1)]


def parse_places(value: Any) -> Any:
    """ "train", or {"by day": "day", "by night": "night"}: a place, or one a domain."""
    several = (
        isinstance(value, dict) and value and all(isinstance(x, str) and x for pair in value.items() for x in pair)
    )
    if not several and not isinstance(value, str):
        raise ValueError("write one name inside root, or {DOMAIN: name, DOMAIN: name} where there are several domains")
    return value


Places = Annotated[str | dict[str, str], BeforeValidator(parse_places)]


def parse_files(value: Any) -> Any:
    """ "cars.json", or ["cars.json", "people.json"]: a file, or several that are one source."""
    several = isinstance(value, list) and value and all(isinstance(name, str) and name for name in value)
    if several and len(set(value)) < len(value):
        raise ValueError(f"{value} names a file twice: write each once")
    if not several and not isinstance(value, str):
        raise ValueError("write one name inside root, or a list of names where there are several")
    return value


Files = Annotated[str | list[str], BeforeValidator(parse_files)]
Folders = str | list[str | None] | None


def joined(ingest: Any, source: str) -> bool:
    """Whether images of a source are named by their paths in `root`, each searched for the classes of its file alone.

    So it is of several JSONs, and of a test beside several.
    """
    return source != "pool" and any(isinstance(one, list) for one in (ingest.labelled, getattr(ingest, source)))


def json_files(ingest: Any, source: str) -> list[tuple[str, str | None]]:
    """The files of a source, each with the folder of its images; None: the file's own. BadInput for a wrong number."""
    names, folders = getattr(ingest, source), getattr(ingest, f"{source}_images")
    names = names if isinstance(names, list) else [] if names is None else [names]
    if not isinstance(folders, list):
        return [(name, folders) for name in names]
    if len(folders) != len(names):
        raise BadInput(
            f"detection.ingest.{source}_images has {len(folders)} folders for {len(names)} JSON(s): write one each, "
            "null where images lie beside their JSON, or a single folder for all"
        )
    return list(zip(names, folders, strict=True))


def parse_stage(value: Any) -> Any:
    """ "lr_05", which becomes a stage and a folder."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w-]+", value):
        raise ValueError("DVC and the shell take no such name: write one of letters, digits, _ and -")
    return value


StageName = Annotated[str, BeforeValidator(parse_stage)]


def parse_folder(value: Any) -> Any:
    """A folder that commands of dvc.yaml name, between single quotes."""
    if isinstance(value, str) and set(value) & set("'\r\n"):
        raise ValueError("the shell takes no quote ' and no line break in it. Rename the folder, or use another")
    return value


Folder = Annotated[str, BeforeValidator(parse_folder)]


def parse_method(value: Any) -> Any:
    """{"name": "rkd", "angle": 50} -> RKD(angle=50.0)."""
    return parse_named(value, METHODS, "methods")


def parse_detection_method(value: Any) -> Any:
    """{"name": "stac", "weight": 1} -> STAC(weight=1.0)."""
    return parse_named(value, DETECTION_METHODS, "methods")


def parse_multitask_method(value: Any) -> Any:
    """{"name": "must", "depth": 2} -> MuST(depth=2.0)."""
    return parse_named(value, of_several(given=False), "methods")


def parse_depth_method(value: Any) -> Any:
    """{"name": "ail_regression", "alpha": 0.4} -> AILRegression(alpha=0.4)."""
    return parse_named(value, of_several(given=True), "methods by which a given teacher teaches depth")


def of_several(*, given: bool) -> dict[str, type[Any]]:
    """The methods of several tasks that a checkpoint teaches, or those that need none."""
    return {name: method for name, method in MULTITASK_METHODS.items() if (method.teacher == "given") == given}


def parse_methods(value: Any) -> Any:
    """[kd, {name: kd, temperature: 8}] -> {"kd": KD(), "kd, temperature 8": KD(temperature=8.0)}."""
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError("methods is a list of names, or of {name: ..., its fields}; null for all there are")
    found = {}
    for item in value:
        written = {"name": item} if isinstance(item, str) else item
        method = parse_method(written)
        changed = [f"{key} {content}" for key, content in written.items() if key != "name"]
        found[", ".join([written["name"], *changed])] = method
    if len(found) < len(value):
        raise ValueError("methods names one of them twice")
    return found


def parse_pattern(value: Any) -> Any:
    """A regular expression, or null."""
    if value is not None:
        try:
            re.compile(value)
        except (re.error, TypeError) as error:
            raise ValueError(f"it is no regular expression ({error}). Write one such as 'patient([0-9]+)'") from error
    return value


Pattern = Annotated[str | None, BeforeValidator(parse_pattern)]


def check_limits(floor: float, cap: float) -> None:
    """Raise ValueError for thresholds that may be nowhere."""
    if floor > cap:
        raise ValueError(
            f"floor is {floor} and cap {cap}: no threshold is below the floor. Write a cap of {floor} or more"
        )


def name_in(value: Any) -> str | None:
    """The name in {"name": ..., its fields}; None where there is none that is a word."""
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


def parse_named(value: Any, known: Mapping[str, Any], what: str) -> Any:
    """{"name": ..., its fields} -> what `known` has by that name, made from the fields."""
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError(f"one of the {what} is written {{name: ..., its fields}}")
    fields = {key: content for key, content in value.items() if key != "name"}
    name = value["name"]
    if not isinstance(name, str):
        raise ValueError(f"a name is {name!r}; it is one of the {len(known)} {what}, written as a word")
    if name not in known:
        raise ValueError(f"{name!r} is not one of the {len(known)} {what}{_way_out(name, known)}")
    if found := dict(mistakes(known[name], fields)):
        raise ValueError(f"in {name}, {'; '.join(found.values())}")
    return _adapter(known[name]).validate_python(fields)


def _way_out(name: str, known: Mapping[str, Any]) -> str:
    """What to write instead of a name that is not known; of the survey's systems nobody guesses that it is misspelt."""
    if name in LOOPS | LIKE:
        link = "" if LOOPS.get(name) in UNLINKED else ", or as compress.chain.N.learn"
        return f": it trains in a loop of its own. Write it as lesson.learn and run `python -m tasks lesson`{link}"
    if name not in SYSTEMS:
        return nearest(name, known)
    there = f". There are: {', '.join(sorted(known))}" if len(known) <= FEW else ""
    how = f"it runs as {SYSTEMS[name].runs}" if SYSTEMS[name].runs else "nothing runs it yet"
    return f": {how}, see docs/methods.md{there}"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made once: it takes longer than to read all else."""
    return TypeAdapter(kind)


@dataclass(frozen=True, kw_only=True)
class Train:
    """One training run: how long, on how much at a time, by which method."""

    __pydantic_config__ = STRICT
    steps: Count  # updates of the weights; time grows with them
    labelled_batch: Annotated[int, Field(gt=1)]  # labelled images a step; batch norm needs two
    pool_batch: Annotated[int, Field(ge=0)]  # images of the pool a step, where the method looks at them; 0: none
    method: Annotated[Method, BeforeValidator(parse_method)]
    start: Literal["teacher", "scratch"] = "scratch"  # weights that a student begins with
