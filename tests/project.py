"""A small project in a folder of its own: real files, three classes of coloured shapes, every stage in seconds."""

import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import yaml

import tasks.params
from tasks.__main__ import main
from tasks.params import Params, load
from tasks.written import read

ROOT = Path(__file__).parents[1]
CLASSES = ("circle", "cross", "square")
# Sections of params.yaml that hold further sections, of which a recipe has some.
SYSTEMS = {"compress", "adapt", "adapt_scenes", "detection", "multitask", "strings", "keypoints"}


@cache
def known() -> Params:
    """The repository's params: checking them takes as long as a small stage."""
    return load(ROOT / "params.yaml")


def content() -> dict[str, Any]:
    """The same as they are written, to change."""
    found: dict[str, Any] = read((ROOT / "params.yaml").read_text())
    return found


def recipe(name: str) -> dict[str, Any]:
    """The sections of docs/recipes/NAME.yaml."""
    found: dict[str, Any] = read((ROOT / f"docs/recipes/{name}.yaml").read_text())
    return found


def merged(sections: Mapping[str, Any]) -> dict[str, Any]:
    """params.yaml with a recipe's sections in place of its own; in a system's section, with the recipe's entries."""
    own = content()
    return own | {name: own[name] | new if name in SYSTEMS else new for name, new in sections.items()}


def write(path: Path, entries: Mapping[str, Any]) -> Path:
    """A file of YAML."""
    path.write_text(yaml.dump(entries, Dumper=yaml.CSafeDumper))  # ten times as fast as PyYAML's own
    return path


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    """One 16 x 16 image of a shape at a random place, on noise."""
    image = rng.integers(0, 60, (16, 16, 3), np.uint8)
    x, y = (int(v) for v in rng.integers(5, 11, 2))
    colour = [int(v) for v in rng.integers(150, 256, 3)]
    if kind == "circle":
        cv2.circle(image, (x, y), 4, colour, -1)
    elif kind == "square":
        cv2.rectangle(image, (x - 4, y - 4), (x + 3, y + 3), colour, -1)
    else:
        cv2.line(image, (x - 4, y - 4), (x + 4, y + 4), colour, 2)
        cv2.line(image, (x - 4, y + 4), (x + 4, y - 4), colour, 2)
    return image


def fill(folder: Path, each: int, seed: int) -> None:
    """`each` images of every class, one folder a class."""
    rng = np.random.default_rng(seed)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for number in range(each):
            cv2.imwrite(str(folder / kind / f"{number:03d}.png"), draw(kind, rng))


def make(root: Path, **changes: object) -> Path:
    """Images and params.yaml in `root`. `changes` are dotted names with __ for the dot."""
    fill(root / "images" / "train", 40, 0)
    fill(root / "images" / "test", 10, 1)
    entries = content()
    settings = {
        "fetch__dataset": "none", "ingest__root": "images", "split__labels_per_class": 12, "network__width": 4,
        "network__image_size": 16, "views__crop_padding": 1, "optimiser__warmup_steps": 2, "compute__threads": 1,
        "compute__workers": 0, "compute__device": "cpu", "compute__checkpoint_seconds": 0, "student__pool_batch": 8,
        "pseudo_label__shard_size": 20, "pseudo_label__batch": 10, "judge__resamples": 100, "report__gallery": 4,
        "rounds": {"1": {"teacher": "work/teacher"}}, "last": 1,
    }  # fmt: skip
    for stage in ("teacher", "baseline", "oracle", "student"):
        settings |= {f"{stage}__steps": 12, f"{stage}__labelled_batch": 8}
    for stage in ("teacher", "student", "baseline"):
        settings |= {f"compress__{stage}__steps": 12, f"compress__{stage}__labelled_batch": 8}
    settings |= {
        "compress__network": {"width": 12}, "compress__chain__1__network": {"width": 4},
        "compress__student__pool_batch": 8, "compare__network": {}, "compare__methods": ["kd"], "compare__seeds": [0],
        "compare__steps": 6, "compare__labelled_batch": 8, "compare__pool_batch": 8,
    }  # fmt: skip
    for name, value in (settings | changes).items():
        *sections, last = name.split("__")
        inner = entries
        for section in sections:
            inner = inner[section]
        inner[last] = value
    write(root / "params.yaml", entries)
    return root


def with_dvc(root: Path) -> Path:
    """The real DAG and code around the images, as a DVC repository without Git."""
    import subprocess
    import sys

    for name in ("tasks", "src", "registry"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors*"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=root, check=True, env=environment())
    return root


def environment() -> dict[str, str]:
    """Where a stage's `python` is this one, nothing phones home, and code is compiled once, not in each stage."""
    import sys

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": "src"}


COMPRESS = (
    "alone work/split work/doctor work/compress/teacher",
    "alone work/split work/doctor work/compress/baseline",
    "compact work/split work/compress/teacher work/compress/students/1",
    "evaluate work/split work/compress/teacher work/compress/evaluation/teacher",
    "evaluate work/split work/compress/students/1 work/compress/evaluation/student",
    "evaluate work/split work/compress/baseline work/compress/evaluation/baseline",
    "export work/split work/compress/teacher work/compress/export/teacher",
    "export work/split work/compress/students/1 work/compress/export/student",
    "compact_judge work/split work/compress/teacher work/compress/students/1 work/compress/evaluation "
    "work/compress/export work/compress/judge",
)
PREPARE = ("ingest images work/ingest", "split work/ingest work/split", "doctor work/ingest work/split work/doctor")
ROUND = (
    "calibrate work/split work/teacher work/rounds/1/calibration",
    "pseudo_label work/split work/teacher work/rounds/1/calibration work/rounds/1/labels",
    "student work/split work/teacher work/rounds/1/labels work/rounds/1/student",
    "guard work/split work/teacher work/rounds/1/labels work/rounds/1/student work/rounds/1/guard",
)
TEACHER = "teacher work/split work/doctor work/teacher"


def run(*commands: str) -> list[int]:
    """Exit codes of tasks run one after the other in this process, in the current folder.

    Params are those of params.yaml there, unless a test has put its own in the place of `tasks.params.load`.
    """
    own = tasks.params.load is not load
    with nullcontext() if own else patch("tasks.params.load", lambda: _loaded(Path("params.yaml").read_text())):
        return [main(command.split()) for command in commands]


@lru_cache(maxsize=4)
def _loaded(text: str) -> Params:
    """params.yaml of the current folder, whose content is `text`: checking it costs as much as a small stage."""
    return load()
