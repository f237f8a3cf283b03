"""Does it gain, and are the promises kept?  python -m benchmarks.evidence [--recipe 100=docs/recipes/few_labels.yaml]

Runs the whole pipeline (`dvc repro`) once a seed and label budget, each in a folder of its own under
.tutelage/evidence, two at a time, and writes docs/evidence.md. What is equal is taken from DVC's
cache, so a run that was cut off continues, and a second one does nothing. `--longer` multiplies the steps of every
network, those of the baselines and of the oracle too. `--recipe` names a file whose sections replace those of
params.yaml, for all budgets or for one (100=FILE). With `--plain` the same commands run without DVC, where there is
none.

`strong only` is a second, weaker baseline: strong views alone. Where the judge kept the supervised model it says why.
"""

import argparse
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from benchmarks import plain
from benchmarks.runs import ROOT, furnish, python, repro, train_longer
from tasks.io import read_json
from tutelage.data.manifest import read_truth
from tutelage.data.pseudo_labels import read_table
from tutelage.metrics.comparison import paired_bootstrap

FOLDER = ROOT / ".tutelage" / "evidence"
REFERENCE = 400  # the label budget with which oracle and second baseline are trained
STRONG = {"method": {"name": "supervised", "strong": 1.0}}


@dataclass(frozen=True)
class Setting:
    """One run of the pipeline."""

    labels: int  # in all ten classes
    seed: int
    longer: float = 1.0  # factor on the steps of every network
    recipe: Path | None = None  # sections in place of those of params.yaml
    oracle: bool = True  # whether it trains its own; all labels are all labels, so once a seed and recipe is enough

    @property
    def folder(self) -> Path:
        of = f"-{self.recipe.stem}" if self.recipe else ""
        return FOLDER / f"{self.labels}-{self.seed}-{self.longer:g}{of}"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--labels", type=int, nargs="+", default=[400, 100], help="budgets, 400 among them")
    arguments.add_argument("--longer", type=float, default=1.0, help="factor on all steps (default: 1)")
    arguments.add_argument("--recipe", nargs="+", default=[], help="FILE with sections for params.yaml, or BUDGET=FILE")
    arguments.add_argument("--plain", action="store_true", help="without DVC; --parallel then counts stages")
    arguments.add_argument("--parallel", type=int, default=2, help="runs at a time (default: 2)")
    asked = arguments.parse_args()
    if REFERENCE not in asked.labels:
        given = " ".join(map(str, asked.labels))
        arguments.error(
            f"--labels is {given}: {REFERENCE} must be among them, for the oracle and the second baseline are trained "
            f"with that budget alone. Write --labels {REFERENCE} {given}"
        )
    recipe = {labels: _recipe(asked.recipe, labels) for labels in asked.labels}
    if missing := [str(path) for path in recipe.values() if path and not path.is_file()]:
        arguments.error(f"--recipe has {missing[0]}, which is no file. Name one such as docs/recipes/few_labels.yaml")
    wanted = {
        labels: [
            Setting(labels, seed, asked.longer, one, oracle=labels == REFERENCE or one != recipe[REFERENCE])
            for seed in asked.seeds
        ]
        for labels, one in recipe.items()
    }
    settings = [setting for group in zip(*wanted.values(), strict=True) for setting in group]
    if asked.plain:
        run_plainly(settings, asked.parallel)
    else:
        repro(ROOT, "fetch", "ingest")
        with ThreadPoolExecutor(asked.parallel) as pool:
            list(pool.map(run, settings))
    found = {str(labels): summarise(group) for labels, group in wanted.items()}
    (ROOT / "docs/evidence.md").write_text(markdown(found, asked.seeds, asked.longer, recipe))
    print((ROOT / "docs/evidence.md").read_text())
    return 0


def run(setting: Setting) -> None:
    """Bring one setting up to date."""
    folder, content = setting.folder, params(setting)
    furnish(folder, content, compute=content.pop("asked"))
    repro(folder, "report")  # the rounds alone: compression has its own verdict
    if setting.labels == REFERENCE:
        strong_only(folder, content)
    print(f"done: {folder.name}", flush=True)


def run_plainly(settings: list[Setting], parallel: int) -> None:
    """Bring all settings about without DVC, and without the second baseline. Images are fetched and read once."""
    folders = [setting.folder for setting in settings]
    for setting in settings:
        content = params(setting)
        furnish(setting.folder, content, dvc=False, compute=content.pop("asked"))
    plain.run(folders[:1], "ingest", parallel=parallel)
    for folder in folders[1:]:
        for name in ("data/fetched", "work/ingest"):
            (folder / name).parent.mkdir(exist_ok=True)
            if not (folder / name).exists():
                os.symlink(folders[0] / name, folder / name)
    plain.run(folders, "report", parallel=parallel)


def params(setting: Setting) -> dict[str, Any]:
    """What a run's params.yaml says; as `asked`, what the recipe asks of `compute`."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    recipe = yaml.safe_load(setting.recipe.read_text()) if setting.recipe else {}
    content |= {"asked": recipe.pop("compute", {})} | recipe | {"seed": setting.seed}
    content["split"]["labels_per_class"] = setting.labels // 10
    train_longer(content, setting.longer)
    if not setting.oracle:
        content["oracle"]["steps"] = 1
    return content


def strong_only(folder: Path, content: dict[str, Any]) -> None:
    """The second baseline, outside the DAG: labelled images in strong views alone. It stays while the first does."""
    out = folder / "strong_only"
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    first, made = yaml.safe_dump([stages[name] for name in ("baseline", "reference@baseline")]), out / "first.yaml"
    if made.exists() and made.read_text() == first:
        return
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    changed = content | {"baseline": content["baseline"] | STRONG}
    (out / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    for name in ("tasks", "src", "data"):
        os.symlink(folder / name, out / name)
    commands = (
        "baseline ../work/split ../work/doctor work/baseline",
        "evaluate ../work/split work/baseline work/evaluation",
    )
    for command in commands:
        python(out, "-m", "tasks", *command.split(), quiet=True)
    made.write_text(first)


def summarise(settings: list[Setting]) -> dict[str, Any]:
    """The three lines over seeds, the gain with its interval, and what the kept pseudo-labels were worth."""
    names = {"baseline": "work/evaluation/baseline", "student": "work/evaluation/candidate"}
    right = {name: np.stack([_right(s.folder / place) for s in settings]) for name, place in names.items()}
    once = [(s if s.oracle else replace(s, labels=REFERENCE)).folder for s in settings]
    right["oracle"] = np.stack([_right(folder / "work/evaluation/oracle") for folder in once])
    if settings[0].labels == REFERENCE and all((folder / "strong_only").exists() for folder in once):
        right["strong_only"] = np.stack([_right(folder / "strong_only/work/evaluation") for folder in once])
    errors = {name: (1 - answers.mean(axis=1)).tolist() for name, answers in right.items()}
    gain = paired_bootstrap(right["student"], right["baseline"], resamples=5000, seed=0)
    verdicts = [read_json(s.folder / "work/judge/verdict.json") for s in settings]
    found = {
        "errors": errors,
        "reduction": list(gain.reduction),
        "promoted": [verdict["promote"] for verdict in verdicts],
        "reasons": [verdict["reasons"] for verdict in verdicts],
        "pseudo_labels": [pseudo_labels(s) for s in settings],
    }
    if "strong_only" in right:
        against = paired_bootstrap(right["student"], right["strong_only"], resamples=5000, seed=0)
        found["reduction_against_strong_only"] = list(against.reduction)
    return found


def pseudo_labels(setting: Setting) -> list[dict[str, Any]]:
    """Per round: share of the pool kept, precision of it, and precision per class on the hidden labels."""
    truth, rounds = read_truth(setting.folder / "work/split"), []
    for number in sorted(map(int, yaml.safe_load((setting.folder / "params.yaml").read_text())["rounds"])):
        folder = setting.folder / f"work/rounds/{number}"
        table = read_table(folder / "labels", ["id", "label", "kept"])
        label, kept = table["label"].to_numpy(), table["kept"].to_numpy()
        hidden = np.array([truth[name] for name in table["id"].to_pylist()])
        rules = read_json(folder / "calibration/calibration.json")
        per_class: dict[str, dict[str, Any]] = {}
        for place, rule in enumerate(rules["classes"]):
            mine = kept & (label == place)
            per_class[rule["name"]] = {
                "kept": int(mine.sum()),
                "precision": float((hidden[mine] == place).mean()) if mine.any() else None,
            }
        precise = float((hidden[kept] == label[kept]).mean()) if kept.any() else None
        met = sum(
            c["precision"] is not None and c["precision"] >= rules["target_precision"] for c in per_class.values()
        )
        rounds.append({
            "round": number, "kept": float(kept.mean()), "precision": precise, "classes_on_target": met,
            "classes_kept": sum(c["kept"] > 0 for c in per_class.values()), "per_class": per_class,
        })  # fmt: skip
    return rounds


def markdown(found: dict[str, Any], seeds: list[int], longer: float, recipe: dict[int, Path | None]) -> str:
    numbers = ", ".join(map(str, seeds))
    by = ", ".join(f"{labels} labels by {_short(path)}" for labels, path in recipe.items() if path)
    steps = f"settings of params.yaml{f'; {by}' if by else ''}" + (
        "" if longer == 1 else f", {longer:g} times the steps"
    )
    lines = [
        "# Evidence", "",
        f"Written by `python -m benchmarks.evidence` (seeds {numbers}; {steps}). Errors on 10,000 test images: mean",
        "and range over seeds; the gain with its 95 % paired bootstrap interval over test images.", "",
        "| labels | supervised only | student | all labels | fewer errors | promoted |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in found.items():
        cells = [_spread(row["errors"][line]) for line in ("baseline", "student", "oracle")]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {_interval(row['reduction'])} | "
            f"{sum(row['promoted'])} of {len(row['promoted'])} |"
        )
    weaker = {name: row for name, row in found.items() if "strong_only" in row["errors"]}
    if weaker:
        lines += ["", "Against a weaker baseline, the same network and steps on strong views alone:", "",
                  "| labels | supervised, strong views only | student | fewer errors |", "|---|---|---|---|",
        ]  # fmt: skip
    for name, row in weaker.items():
        cells = [_spread(row["errors"][line]) for line in ("strong_only", "student")]
        lines.append(f"| {name} | {' | '.join(cells)} | {_interval(row['reduction_against_strong_only'])} |")
    lines += [
        "", "Pseudo-labels against the pool's hidden labels:", "",
        "| labels | seed | round | kept | precision | classes at or above the target |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in found:
        for seed, rounds in zip(seeds, found[name]["pseudo_labels"], strict=True):
            for r in rounds:
                precision = "-" if r["precision"] is None else f"{r['precision']:.1%}"
                lines.append(
                    f"| {name} | {seed} | {r['round']} | {r['kept']:.1%} | {precision} | "
                    f"{r['classes_on_target']} of {r['classes_kept']} with labels |"
                )
    lines += ["", "Where the judge kept the supervised model:", ""]
    for name, row in found.items():
        kept = [(seed, why) for seed, yes, why in zip(seeds, row["promoted"], row["reasons"], strict=True) if not yes]
        lines += [
            f"- {name} labels, seed {seed}: {' '.join(reason.rstrip('.') + '.' for reason in why)}"
            for seed, why in kept
        ]
    return "\n".join(lines) + "\n"


def _right(folder: Path) -> np.ndarray:
    table = pq.read_table(folder / "predictions.parquet")
    right: np.ndarray = table["label"].to_numpy() == table["predicted"].to_numpy()
    return right


def _recipe(asked: list[str], labels: int) -> Path | None:
    """The file that is meant for a budget: FILE for all, BUDGET=FILE for one."""
    own = [each.removeprefix(f"{labels}=") for each in asked if each.startswith(f"{labels}=")]
    every = [each for each in asked if not each.partition("=")[0].isdigit()]
    return Path((own or every)[0]) if own or every else None


def _short(path: Path) -> str:
    inside = path.resolve()
    return str(inside.relative_to(ROOT)) if inside.is_relative_to(ROOT) else path.name


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"


def _interval(values: list[float]) -> str:
    estimate, low, high = values
    return f"{estimate:.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    sys.exit(main())
