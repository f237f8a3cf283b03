"""The graph of dvc.yaml without DVC: which stages there are, and what each reads from which others."""

import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from tasks.io import bad_input
from tasks.written import read

NAMED = re.compile(r"\$\{([^}]+)\}")
DEMO = ("fetch", "compose", "domains", "compose_domains")  # stages that make images


@dataclass(frozen=True)
class Stage:
    """One command, and what it reads and writes."""

    name: str  # of several with one definition: definition@key
    command: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    params: tuple[str, ...] = ()  # dotted names of what it reads of params.yaml


def stages(folder: Path) -> list[Stage]:
    """Those of `folder`'s dvc.yaml, with what its params.yaml says in place of the names in braces.

    Raises KeyError for a name that params.yaml does not have.
    """
    return stages_of((folder / "dvc.yaml").read_text(), (folder / "params.yaml").read_text())


def stages_of(definitions: str, params: str) -> list[Stage]:
    """Those of dvc.yaml, `definitions`, with the values of `params`, params.yaml. Raises KeyError as `stages`."""
    known = read(params)
    found = []
    for name, written in read(definitions)["stages"].items():
        if "foreach" not in written:
            found.append(_stage(name, written, known))
            continue
        each = _filled(written["foreach"], known)
        entries = each.items() if isinstance(each, Mapping) else ((item, item) for item in each)
        found += [_stage(f"{name}@{key}", written["do"], known | {"key": key, "item": item}) for key, item in entries]
    return found


def needed(every: Sequence[Stage], target: str) -> dict[Stage, list[Stage]]:
    """The stages `target` (of that name or that definition) and all that they need, each with what it reads from.

    Raises ValueError where there is no such stage.
    """
    open_ = [stage for stage in every if target in (stage.name, stage.name.partition("@")[0])]
    if not open_:
        raise ValueError(f"dvc.yaml has no stage {target!r}")
    found: dict[Stage, list[Stage]] = {}
    while open_:
        stage = open_.pop()
        found[stage] = [one for one in every if any(overlap(a, b) for a in stage.reads for b in one.writes)]
        open_ += [one for one in found[stage] if one not in found]
    return found


def unwritten(definitions: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, list[str]]:
    """What stages of dvc.yaml depend on and params.yaml, `known`, does not have -> these stages, which DVC refuses.

    That an entry has a default helps DVC nothing.
    """
    found: dict[str, list[str]] = {}
    for name, written in definitions.items():
        for path in written.get("do", written).get("params", ()):
            if not NAMED.search(path) and not _has(path, known):
                found.setdefault(path, []).append(name)
    return found


def check_written(folder: Path, params: Any) -> None:
    """Raises BadInput where params.yaml of `folder`, which `params` came from, leaves out what `unwritten` names."""
    if not (folder / "dvc.yaml").exists():
        return
    definitions = read((folder / "dvc.yaml").read_text())["stages"]
    lacking = unwritten(definitions, read((folder / "params.yaml").read_text()))
    lines = [
        f"  {path}: write its default, {_default(path, params)} (stages {', '.join(names)})"
        for path, names in lacking.items()
    ]
    if lines:
        raise bad_input("\n".join(["params.yaml lacks what stages depend on, so DVC would refuse them:", *lines]))


def check_roots(folder: Path, params: Any) -> None:
    """Raises BadInput where images that params.yaml of `folder` names would be deleted. Those that a stage makes may
    be."""
    every = _stages_if_any(folder)
    for section in ("", "detection.", "adapt.", "adapt_scenes."):
        name = f"{section}ingest.root"
        root = attrgetter(name)(params)
        held = {path.name for path in (folder / root).iterdir()} if (folder / root).is_dir() else set()
        own = params.fetch.dataset == "none" and not held <= {"README.md"}  # nothing else is fetched then
        _check_root(folder, root, name, every, made=[stage for stage in DEMO if stage != "fetch" or not own])


def check_root(folder: Path, root: Path, name: str) -> None:
    """Raises BadInput where `root`, which is called `name`, is, holds or lies in what a stage of `folder` writes.

    DVC removes what a stage writes before the stage runs.
    """
    _check_root(folder, root, name, _stages_if_any(folder))


def _stages_if_any(folder: Path) -> list[Stage]:
    return stages(folder) if (folder / "dvc.yaml").exists() else []


def _check_root(folder: Path, root: Path | str, name: str, every: Iterable[Stage], made: Container[str] = ()) -> None:
    """`check_root` of stages of `folder`; `root` may lie in what those called `made` write."""
    real = (folder / root).resolve()
    for stage in every:
        for out in stage.writes:
            written = (folder / out).resolve()
            inside = real.is_relative_to(written)
            if (inside and stage.name not in made) or (written != real and written.is_relative_to(real)):
                raise bad_input(
                    f"{name} is {root}, but stage {stage.name} writes {out}, and DVC deletes all that lies there "
                    "before that stage runs. Put your images into a folder that holds and is no stage's, such as mine"
                )


def _default(path: str, params: Any) -> str:
    for step in path.split("."):
        params = getattr(params, step)
    return json.dumps(params if isinstance(params, int | float | str | None) else asdict(params))


def _has(path: str, known: Any) -> bool:
    for step in path.split("."):
        if not isinstance(known, Mapping) or step not in known:
            return False
        known = known[step]
    return True


def entry_of(known: Any, path: str) -> Any:
    """What params.yaml, `known`, has under a dotted name; None where it has nothing there."""
    return _named(path, known) if _has(path, known) else None


def _stage(name: str, written: dict[str, Any], known: dict[str, Any]) -> Stage:
    told = _filled({part: written.get(part, []) for part in ("cmd", "deps", "outs", "params")}, known)
    return Stage(name, told["cmd"], tuple(told["deps"]), tuple(told["outs"]), tuple(told["params"]))


def _filled(part: Any, known: dict[str, Any]) -> Any:
    """The same with the values of names in place of `${name}`; where that is all of a text, of whatever kind it is."""
    if isinstance(part, Mapping):
        return {key: _filled(value, known) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, known) for value in part]
    if not isinstance(part, str):
        return part
    if whole := NAMED.fullmatch(part):
        return _named(whole[1], known)
    return NAMED.sub(lambda found: str(_named(found[1], known)), part)


def _named(name: str, known: Any) -> Any:
    for step in name.split("."):
        known = known[step]
    return known


def overlap(path: str, other: str) -> bool:
    """Whether one is the other or lies in it."""
    return f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")
