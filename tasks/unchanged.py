"""What a stage began with is what DVC will record, which reads params and code when the stage has ended."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tasks.finished import STAGE, by_dvc
from tasks.graph import Stage, entry_of, stages
from tasks.io import bad_input
from tasks.locked import CODE, md5_of
from tasks.text import first_few
from tasks.written import read

SHOWN = 3  # changes that the message names


@contextmanager
def unchanged() -> Iterator[None]:
    """Raises BadInput where params or code that DVC records for the stage that it runs here are others after the block.

    Its result is left, but not recorded, and DVC removes it before it runs the stage again. Of a run by hand nothing
    is recorded, so its files may change.
    """
    stage = _stage()
    if stage is None:
        yield
        return
    params, code = Path("params.yaml").read_text(), _code(stage)
    yield
    if changes := [*_edits(params, Path("params.yaml").read_text(), stage), *_edited(code, _code(stage))]:
        raise bad_input(
            f"{stage.name} is not recorded, for somebody changed what it reads while it ran: "
            f"{first_few(changes, SHOWN)}. What it made is of what was there before. Run it again"
        )


def _stage() -> Stage | None:
    """The one that DVC runs here; None where that is of another dvc.yaml than the one that lies here."""
    if not by_dvc() or not Path("dvc.yaml").exists():
        return None
    return next((stage for stage in stages(Path()) if stage.name == os.environ[STAGE]), None)


def _code(stage: Stage) -> dict[str, str]:
    """path -> md5 of the code that DVC hashes for the stage."""
    places = [Path(path) for path in stage.reads if path.startswith(CODE)]
    files = [file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])]
    return {str(file): md5_of(file) for file in sorted(files)}


def _edited(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [path for path in sorted(before.keys() | now.keys()) if before.get(path) != now.get(path)]


def _edits(before: str, now: str, stage: Stage) -> Iterator[str]:
    """What the stage reads of params.yaml and is there no longer what it was."""
    if before == now:
        return
    try:
        old, new = read(before), read(now)
    except yaml.YAMLError:
        yield "params.yaml, which is no YAML any more"
        return
    for name in stage.params:
        yield from _differences(entry_of(old, name), entry_of(new, name), name)


def _differences(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}")
    elif old != new:
        yield f"{name} was {json.dumps(old)}, is {json.dumps(new)}"
