"""Is a student better with few labels?  python -m benchmarks.folds RECIPE --root FOLDER [--share 10] [--folds 0 1 2]

Runs `dvc repro box_evaluate` once a fold, with the entries of a recipe such as docs/recipes/bccd.yaml in place of those
of params.yaml, each in a folder of its own under .tutelage/folds, and prints a table: supervised only, student and all
labels on the test, mean and range over folds, and in each what the student gains. `--root` has `instances_train.json`
and `instances_test.json` (COCO), `images/`, and `ssl_splits.json`: by share, in percent, one list of ids of labelled
images a fold. The boxes of all other images are hidden from all but the oracle. A fold's number is also its seed.
What is equal is taken from DVC's cache: a run that was cut off continues. With `--plain` the same commands run without
DVC, for a machine that has none. A recipe's section `compute` is taken too.
"""

import argparse
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks import plain
from benchmarks.runs import ROOT, furnish, repro
from tasks.io import read_json
from tasks.text import change, points, table

FOLDER = ROOT / ".tutelage" / "folds"
LINES = {"baseline": "supervised only", "candidate": "student", "oracle": "all labels"}
TRAIN, TEST = "instances_train.json", "instances_test.json"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe", type=Path, help="a YAML file with a section detection")
    arguments.add_argument("--root", type=Path, required=True, help="folder with images, COCO JSON files and splits")
    arguments.add_argument("--splits", default="ssl_splits.json", help="file in root (default: ssl_splits.json)")
    arguments.add_argument("--share", default="10", help="percent of the images that keep their boxes (default: 10)")
    arguments.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--parallel", type=int, default=2, help="runs at a time (default: 2)")
    arguments.add_argument("--plain", action="store_true", help="without DVC; --parallel then counts stages")
    asked = arguments.parse_args()
    if problem := unusable(asked.recipe, asked.root, asked.splits) or unknown(
        asked.root / asked.splits, asked.share, asked.folds
    ):
        arguments.error(problem)
    labelled = read_json(asked.root / asked.splits)["labelled"][asked.share]
    folders = [FOLDER / f"{asked.recipe.stem}-{asked.share}-{fold}" for fold in asked.folds]

    compute = yaml.safe_load(asked.recipe.read_text()).get("compute")
    for folder, fold in zip(folders, asked.folds, strict=True):
        write_fold(asked.root, set(labelled[fold]), folder / "scenes")
        content = params(asked.recipe, fold)
        furnish(folder, content, dvc=not asked.plain, compute=compute)
        if config := content["detection"]["network"].get("config"):
            (folder / config).parent.mkdir(exist_ok=True)
            shutil.copy(asked.recipe.parent / config, folder / config)

    def run(folder: Path) -> None:
        repro(folder, "box_evaluate")
        print(f"done: {folder.name}", flush=True)

    if asked.plain:
        plain.run(folders, "box_evaluate", parallel=asked.parallel)
    else:
        with ThreadPoolExecutor(asked.parallel) as pool:
            list(pool.map(run, folders))
    print(markdown(asked.folds, [results(folder) for folder in folders]))
    return 0


def unusable(recipe: Path, root: Path, splits: str) -> str | None:
    """Why this recipe or folder cannot be used, with the way out; None where they can."""
    found = yaml.safe_load(recipe.read_text()) if recipe.is_file() else None
    if not isinstance(found, dict) or "detection" not in found:
        return f"{recipe} is no YAML file with a section detection. Name one such as docs/recipes/bccd.yaml"
    missing = [name for name in (TRAIN, TEST, splits, "images") if not (root / name).exists()]
    if missing:
        return f"--root is {root}, which has no {missing[0]}. Name the folder that has it"
    return None


def unknown(splits: Path, share: str, folds: list[int]) -> str | None:
    """Why a split cannot be used, with the way out; None where all can."""
    shares = read_json(splits).get("labelled", {})
    if share not in shares:
        return f"--share is {share}, but {splits} has {', '.join(shares) or 'none'}. Take one of these"
    if bad := [fold for fold in folds if not 0 <= fold < len(shares[share])]:
        return f"--folds has {bad[0]}, but {splits} has {len(shares[share])}. Number them from 0"
    return None


def write_fold(root: Path, labelled: set[int], out: Path) -> None:
    """labelled.json (these images), pool.json (all others of the training images), test.json and the images.

    Raises ValueError for an id that no training image has.
    """
    train = read_json(root / TRAIN)
    ids = {image["id"] for image in train["images"]}
    if not labelled <= ids:
        raise ValueError(
            f"{root / TRAIN} has no image {min(labelled - ids)}, which the split names: they do not belong"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, kept in {"labelled": labelled, "pool": ids - labelled}.items():
        part = {
            "images": [image for image in train["images"] if image["id"] in kept],
            "annotations": [one for one in train["annotations"] if one["image_id"] in kept],
        }
        (out / f"{name}.json").write_text(json.dumps(train | part))
    shutil.copy(root / TEST, out / "test.json")
    shutil.copytree(root / "images", out / "images", dirs_exist_ok=True)


def params(recipe: Path, fold: int) -> dict[str, Any]:
    """params.yaml of this checkout with the recipe's entries, on the data of a fold."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["detection"] |= yaml.safe_load(recipe.read_text())["detection"]
    content["detection"]["ingest"] = {
        "root": "scenes", "labelled": "labelled.json", "labelled_images": "images", "pool": "pool.json",
        "pool_images": "images", "test": "test.json", "test_images": "images", "leaks": "drop",
    }  # fmt: skip
    content["seed"], content["fetch"]["dataset"] = fold, "none"
    return content


def results(folder: Path) -> dict[str, Any]:
    """metrics.json of each line that there is, and the guard's verdict: a student that it stopped is its teacher."""
    work = folder / "work/detection"
    last = yaml.safe_load((folder / "params.yaml").read_text())["detection"]["last"]
    found = {name: read_json(work / f"evaluation/{name}/metrics.json") for name in LINES}
    tested = {name: metrics for name, metrics in found.items() if metrics.get("available", True)}
    return tested | {"guard": read_json(work / f"rounds/{last}/guard/guard.json")["verdict"]}


def markdown(folds: list[int], found: list[dict[str, Any]], *, unit: str = "fold") -> str:
    """What `results` says of each fold, or other unit -> the lines, and in each the student's gain in points.

    A line that was not tested in all of them is `-`.
    """
    scores = {"ap": "AP", "ap50": "AP50"}
    rows = [
        [title, *(_spread([each[name][score] for each in found if name in each], len(found)) for score in scores)]
        for name, title in LINES.items()
    ]
    gains = [
        [fold, *(change(each["candidate"][score] - each["baseline"][score]) for score in scores), each["guard"]]
        for fold, each in zip(folds, found, strict=True)
    ]
    lines = table(["network", *scores.values()], rows)
    return f"{lines}\n\nStudent less supervised only:\n\n{table([unit, *scores.values(), 'guard'], gains)}"


def _spread(values: list[float], wanted: int) -> str:
    if len(values) < wanted:
        return "-"
    return f"{points(float(np.mean(values)))} ({points(min(values))} to {points(max(values))})"


if __name__ == "__main__":
    sys.exit(main())
