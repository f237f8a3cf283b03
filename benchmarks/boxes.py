"""Does a pool make a better detector?  python -m benchmarks.boxes [--seeds 0 1 2] [--longer 1] [--oracle]

Runs `dvc repro box_report` once a seed (other scenes, other labels, other networks) with the params of this checkout,
each in a folder of its own under .tutelage/boxes, and prints a table: supervised only, student and all boxes on the
test, mean and range over seeds, and what the student gains in each, with its interval over test images and that of the
mean. `--longer` multiplies the steps of every network, those of the baseline too; `--oracle` trains a detector of all
boxes as the baseline is trained. What is equal is taken from DVC's cache: a run that was cut off continues.
"""

import argparse
import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import hypot
from pathlib import Path
from typing import Any

import yaml

from benchmarks.folds import markdown, results
from benchmarks.runs import ROOT, furnish, repro, train_longer
from tasks.io import read_json
from tasks.text import change

FOLDER = ROOT / ".tutelage" / "boxes"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--longer", type=float, default=1.0, help="factor on all steps (default: 1)")
    arguments.add_argument("--oracle", action="store_true", help="train a detector of all boxes too")
    arguments.add_argument("--parallel", type=int, default=2, help="runs at a time (default: 2)")
    asked = arguments.parse_args()
    repro(ROOT, "fetch")
    folders = [FOLDER / f"{seed}-{asked.longer:g}" for seed in asked.seeds]
    with ThreadPoolExecutor(asked.parallel) as pool:
        list(pool.map(partial(_run, longer=asked.longer, oracle=asked.oracle), folders, asked.seeds))
    gains = [read_json(folder / "work/detection/judge/verdict.json")["gain"] for folder in folders]
    print(markdown(asked.seeds, [results(folder) for folder in folders], unit="seed"))
    print(f"\n{told(gains)}")
    return 0


def told(gains: list[dict[str, float]]) -> str:
    """`gain` of verdict.json, one a seed -> the mean's.

    Seeds have scenes of their own, so their errors are independent: widths add as the sides of a right angle do.
    """
    mean = sum(each["ap"] for each in gains) / len(gains)
    below = hypot(*(each["ap"] - each["low"] for each in gains)) / len(gains)
    above = hypot(*(each["high"] - each["ap"] for each in gains)) / len(gains)
    return f"Gain of AP, mean of {len(gains)}: {change(mean)} (95 %: {change(mean - below)} to {change(mean + above)})"


def _run(folder: Path, seed: int, *, longer: float, oracle: bool) -> None:
    furnish(folder, params(yaml.safe_load((ROOT / "params.yaml").read_text()), seed, longer, oracle=oracle))
    repro(folder, "box_report")
    print(f"done: seed {seed}", flush=True)


def params(content: dict[str, Any], seed: int, longer: float, *, oracle: bool = False) -> dict[str, Any]:
    """What a run's params.yaml says: `content` with its seed and its steps, and with `oracle` one like the baseline."""
    detection = copy.deepcopy(content["detection"])
    if oracle:
        detection["oracle"] = copy.deepcopy(detection["baseline"])
    train_longer(detection, longer)
    if names := detection["names"]:
        names["train"]["steps"] = round(longer * names["train"]["steps"])
    return content | {"seed": seed, "detection": detection}


if __name__ == "__main__":
    sys.exit(main())
