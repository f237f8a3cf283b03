"""Outputs appear whole or not at all."""

import csv
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

TELLING = {  # each stage writes one of these names, but for compare and those that make the demo's images
    "manifest.parquet", "split.parquet", "shares.parquet", "report.json", "model.safetensors", "translator.safetensors",
    "unavailable.json", "skipped.json", "calibration.json", "shard-00000.parquet", "metrics.json", "guard.json",
    "verdict.json", "summary.json", "export.json", "latency.json", "choice.json", "drift.json", "scores.json",
    "asked.json", "predicted.json", "pseudo_boxes.json",
}  # fmt: skip
BESIDE = {  # what they write beside it
    "report.md", "report.html", "summary.md", "gallery.md", "samples.png", "truth.parquet", "boxes.parquet",
    "known.parquet", "known.safetensors", "manifest.json", "curve.csv", "learned_from.json", "passed.json",
    "turns.json", "search.json", "committee.json", "pate.json", "predictions.parquet", "found.parquet", "curves.json",
    "answers.parquet", "opinions.parquet", "crops.tar", "names.json", "anomalies.json", "maps.parquet",
    "scores.parquet", "rounds.csv", "reliability.csv", "curves.csv", "model.onnx", "model.fp16.onnx",
    "model.int8.onnx", "ask.csv", "ask.html", "ask.json", "suggested.json", "predictions.csv", "predictions.json",
    "refused.csv", ".gitignore", ".DS_Store",
}  # fmt: skip
NUMBERED = re.compile(r"shard-\d+\.parquet|(student|alone|teacher(-[a-z]+)?)\.(safetensors|csv)")
KEEPS = {"compare": ("results", "compare.json", "compare.md", "compare.png")}  # stages that go on from what is there
SYNCS = 4  # files that wait for the disk together


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A new, empty folder to write into; it becomes `out`, synced to the disk, when the block ends without an error.

    Whatever `out` held before stays until then. A killed block leaves `out` as it was, and a `.tutelage.part` folder
    that the next attempt removes. Killed between the two renames at the end, it leaves the old `out` as
    `.tutelage.old`, and the next attempt begins by putting it back. OUT.old may be a folder of the user's own. Raises
    BadInput where another process is at it: DVC keeps its own stages apart, and nobody what people run by hand.
    """
    out = out.resolve()  # of a link, what it leads to is replaced, and `.` gets a name
    part, old = out.with_name(out.name + ".tutelage.part"), _old(out)
    part.mkdir(parents=True, exist_ok=True)
    with ExitStack() as mine:
        try:
            mine.enter_context(held(part, fcntl.LOCK_NB))
        except (BlockingIOError, FileNotFoundError):
            raise bad_input(f"another process writes {out}. Wait until it ends, or name another folder") from None
        put_back(out)
        _empty(part)
        yield part
        with ThreadPoolExecutor(SYNCS) as pool:  # the disk takes many at a time in the time of one
            list(pool.map(sync, part.rglob("*")))
        sync(part)
        if out.exists():
            os.replace(out, old)
        os.replace(part, out)
        sync(out.parent)
        shutil.rmtree(old, ignore_errors=True)


def _empty(folder: Path) -> None:
    """All in it goes; the folder itself is what a lock is on."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def held(folder: Path, flags: int = 0) -> Iterator[None]:
    """A folder for this process alone, among those that ask. The kernel lets go of it when the process ends, however it
    ends. Raises BlockingIOError where `flags` say not to wait, or where the folder has become another one.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | flags)
        if not os.path.samestat(os.fstat(handle), folder.stat()):
            raise BlockingIOError(errno.EAGAIN, "It was replaced in between", str(folder))
        yield
    finally:
        os.close(handle)


def check_out(out: Path, inputs: Iterable[Path], beside: Collection[str] = ()) -> None:
    """Raises BadInput where writing `out` would delete one of the `inputs`, or files that no stage has written.

    `beside`: names that the stage itself leaves there.
    """
    place = out.resolve()
    for path in inputs:
        if path.resolve().is_relative_to(place):
            raise bad_input(f"OUT is {out}, which would replace the input {path}. Name another folder")
    if out.is_file():
        raise bad_input(f"OUT is {out}, which is a file and would be replaced by a folder. Name another folder")
    held = {path.name for path in out.iterdir()} - set(beside) if out.is_dir() else set()
    asked = {"images"} if "asked.json" in held else set()
    foreign = {name for name in held - TELLING - BESIDE - asked if not NUMBERED.fullmatch(name)}
    if foreign or (held and not held & TELLING):
        raise bad_input(
            f"OUT is {out}, which holds {min(foreign or held)} and may be a folder of yours; it would be deleted. Name "
            "another folder, or remove it yourself"
        )


def put_back(out: Path) -> None:
    """Undo the first of the two renames of `whole` where it was cut off between them, or end what it had left to do."""
    old = _old(out)
    if old.exists() and not out.exists():
        os.replace(old, out)
    shutil.rmtree(old, ignore_errors=True)


def _old(out: Path) -> Path:
    return out.with_name(out.name + ".tutelage.old")


def bad_input(message: str) -> ValueError:
    """A BadInput, to raise where torch, which comes with it, is loaded for nothing else."""
    from tutelage.types import BadInput

    return BadInput(message)


def write_json(path: Path, content: Any) -> None:
    """Sorted keys and a final newline, so that equal contents are equal bytes."""
    path.write_text(as_json(content))


def as_json(content: Any) -> str:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A table whose columns are those of the first row."""
    listed = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]) if listed else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def write_whole(path: Path, content: bytes) -> None:
    """One file, whole or not at all, in a folder that holds others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    sync(part)
    os.replace(part, path)
    sync(path.parent)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
