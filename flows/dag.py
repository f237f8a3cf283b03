"""The graph of dvc.yaml, as DVC itself resolves it.

Run as a file it prints the graph of the repository it stands in. `load` does that in a process of its own: DVC's
addresses are relative to the working directory, and DVC stays out of the Prefect process.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Policy:
    """How Prefect runs a stage: its `meta.prefect` in dvc.yaml. Changing it never makes the stage stale."""

    retries: int = 0  # only where a network is used
    retry_delay: float = 5.0  # seconds
    timeout: float | None = None  # seconds that its command may run
    gpu: int = 0  # slots of the global concurrency limit `gpu`


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, or a .dvc file."""

    name: str
    needs: tuple[str, ...] = ()  # stages whose outputs it reads
    writes: tuple[str, ...] = ()  # paths
    source: bool = False  # a .dvc file: data, no command
    imported: bool = False  # a source that `dvc update` fetches anew
    policy: Policy = Policy()
    report: str | None = None  # Markdown that it writes


Dag = dict[str, Stage]


def load(root: Path) -> Dag:
    """The stages by name, in the order of dvc.yaml."""
    command = [sys.executable, "-P", str(Path(__file__).resolve())]  # -P: names of this folder hide no others
    done = subprocess.run(command, cwd=root, text=True, capture_output=True)
    if done.returncode:
        told = (done.stderr.strip() or f"DVC ended with exit code {done.returncode}").splitlines()[-1]
        advice = ". `git init` makes it one" if told.endswith("is not a git repository") else ""
        raise ValueError(f"dvc.yaml cannot be read: {told}{advice}")
    return {
        name: Stage(
            **stage | {part: tuple(stage[part]) for part in ("needs", "writes")} | {"policy": Policy(**stage["policy"])}
        )
        for name, stage in json.loads(done.stdout).items()
    }


def ancestors(dag: Dag, names: Iterable[str]) -> set[str]:
    """`names` and all that they need."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in dag:
            raise ValueError(f"{name!r} is not a stage of dvc.yaml; there are: {', '.join(dag)}")
        if name not in found:
            found.add(name)
            todo += dag[name].needs
    return found


def resolve() -> Dag:
    """Ask DVC. Only in a process whose working directory is the repository."""
    from dvc.repo import Repo

    with Repo(".") as repo:
        graph = repo.index.graph  # edges from a stage to those it needs
        return {
            stage.addressing: Stage(
                name=stage.addressing,
                needs=tuple(needed.addressing for needed in graph.successors(stage)),
                writes=tuple(str(out) for out in stage.outs),
                source=stage.is_data_source,
                imported=stage.is_import,
                policy=_policy(stage),
                report=_meta(stage).get("report"),
            )
            for stage in graph
        }


def _meta(stage: Any) -> dict[str, Any]:
    return getattr(stage, "meta", None) or {}


def _policy(stage: Any) -> Policy:
    try:
        return Policy(**_meta(stage).get("prefect", {}))
    except TypeError as error:
        raise ValueError(f"meta.prefect of stage {stage.addressing}: {error}") from error


if __name__ == "__main__":
    json.dump({name: asdict(stage) for name, stage in resolve().items()}, sys.stdout)
