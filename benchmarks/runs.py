"""Folders in which the whole pipeline runs with params of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ALONE = {"threads": 1, "workers": 0}  # two runs side by side are what keeps two cores busy


def furnish(folder: Path, content: dict[str, Any], *, dvc: bool = True, compute: dict[str, Any] | None = None) -> None:
    """Give a folder today's code, the cache of this checkout and params, `ALONE` but for what `compute` asks for."""
    folder.mkdir(parents=True, exist_ok=True)
    if dvc and not (folder / ".dvc").exists():
        _dvc(folder, "init", "-q", "--no-scm")
        _dvc(folder, "config", "cache.dir", str(ROOT / ".dvc" / "cache"))
    for name in ("tasks", "src", "registry"):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors*"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    content["compute"] |= ALONE | (compute or {})
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def train_longer(content: dict[str, Any], factor: float) -> None:
    """Multiply the steps of all networks that a section of params trains, in place."""
    for network in ("teacher", "baseline", "oracle", "student"):
        if content[network] is not None:
            content[network]["steps"] = round(factor * content[network]["steps"])


def repro(folder: Path, *stages: str) -> None:
    """`dvc repro` of these stages there."""
    _dvc(folder, "repro", "-q", *stages)


def _dvc(folder: Path, *arguments: str) -> None:
    python(folder, "-m", "dvc", *arguments)


def python(folder: Path, *arguments: str, quiet: bool = False) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": "src"}  # the code of that folder
    env["TUTELAGE_FLOW"] = str(os.getpid())  # whatever ends this process ends its stages
    out = subprocess.DEVNULL if quiet else None
    subprocess.run([sys.executable, *arguments], cwd=folder, env=env, check=True, stdout=out)
