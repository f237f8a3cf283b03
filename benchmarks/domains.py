"""What is adaptation worth?  python -m benchmarks.domains RECIPE [--root FOLDER] [--seeds 0 1 2]

Runs `dvc repro adapt_scenes_report` once a seed, with the entries of a recipe such as docs/recipes/adapt_scenes.yaml or
adapt_plates.yaml in place of those of params.yaml, each in a folder of its own under .tutelage/domains, and prints a
table: source, baseline, every candidate and oracle on the target's test, mean and range over seeds. `--root` is where
own data lies (`adapt_scenes.ingest.root`). What is equal is taken from DVC's cache: a run that was cut off continues.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.runs import ROOT, furnish, repro
from tasks.adapt_scenes_report import COLUMNS, closed
from tasks.io import read_json
from tasks.text import percent, table

FOLDER = ROOT / ".tutelage" / "domains"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe", type=Path, help="a YAML file with a section adapt_scenes")
    arguments.add_argument("--root", type=Path, help="folder of own data (default: the demo's scenes)")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--parallel", type=int, default=2, help="runs at a time (default: 2)")
    asked = arguments.parse_args()
    if problem := unusable(asked.recipe, asked.root):
        arguments.error(problem)
    contents = {seed: params(asked.recipe, seed, asked.root) for seed in asked.seeds}
    if asked.root is None:
        repro(ROOT, "fetch")
    folders = [FOLDER / f"{asked.recipe.stem}-{seed}" for seed in asked.seeds]
    with ThreadPoolExecutor(asked.parallel) as pool:
        list(pool.map(_run, folders, contents.values()))
    found = [read_json(folder / "work/adapt_scenes/report/summary.json") for folder in folders]
    print(markdown(found))
    return 0


def unusable(recipe: Path, root: Path | None) -> str | None:
    """Why this cannot be run, with the way out; None where it can."""
    found = yaml.safe_load(recipe.read_text()) if recipe.is_file() else None
    if not isinstance(found, dict) or "adapt_scenes" not in found:
        return f"{recipe} is no YAML file with a section adapt_scenes. Name one such as docs/recipes/adapt_scenes.yaml"
    own = found["adapt_scenes"].get("ingest", {}).get("root")
    if root is None and own is not None:
        return f"{recipe} has data of its own, {own!r}. Say where they lie: --root FOLDER"
    if root is not None and not root.is_dir():
        return f"--root is {root}, which is no folder. Name the one with the recipe's COCO JSON files"
    return None


def params(recipe: Path, seed: int, root: Path | None) -> dict[str, Any]:
    """params.yaml of this checkout with the recipe's entries."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["adapt_scenes"] |= yaml.safe_load(recipe.read_text())["adapt_scenes"]
    content["seed"] = seed
    if root is not None:
        content["adapt_scenes"]["ingest"]["root"] = str(root.resolve())
        content["fetch"]["dataset"] = "none"
    return content


def _run(folder: Path, content: dict[str, Any]) -> None:
    furnish(folder, content)
    repro(folder, "adapt_scenes_report")
    print(f"done: {folder.name}", flush=True)


def markdown(found: list[dict[str, Any]]) -> str:
    """Contents of summary.json, one a seed -> the lines and each way, with the share of the gap between the means."""
    columns = next(names for names in COLUMNS.values() if names.keys() <= found[0]["lines"]["baseline"].keys())
    score = next(iter(columns))
    every = {name: [each["lines"][name] for each in found] for name in ("source", "baseline")}
    every |= {name: [each["candidates"][name] for each in found] for name in found[0]["candidates"]}
    every["oracle"] = [each["lines"]["oracle"] for each in found if each["lines"]["oracle"]]
    mean = {name: float(np.mean([each[score] for each in runs])) for name, runs in every.items() if runs}
    rows = [
        [
            name,
            *(_spread([each[column] for each in runs]) for column in columns),
            percent(closed(mean[name], mean["baseline"], mean.get("oracle"))) if name in found[0]["candidates"] else "",
        ]
        for name, runs in every.items()
    ]
    return table(["network", *columns.values(), "of the gap"], rows)


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{percent(float(np.mean(values)))} ({percent(min(values))} to {percent(max(values))})"


if __name__ == "__main__":
    sys.exit(main())
