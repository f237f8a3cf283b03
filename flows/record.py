"""dvc.lock survives a DVC that is ended while it writes it, which it does in place."""

import fcntl
import re
import shutil
from contextlib import suppress
from pathlib import Path

import yaml
from prefect import get_run_logger

from flows.lock import held
from tasks.io import write_whole
from tasks.written import read

COPY = Path(".tutelage/dvc.lock")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
KINDS = {"path": str, "hash": str, "size": int, "nfiles": int}  # what DVC records of a file or a folder


def keep(root: Path) -> None:
    """A copy of dvc.lock. Where another DVC is at work, which may be writing it, the copy of before stays."""
    with suppress(BlockingIOError, FileNotFoundError), held(root / ".dvc/tmp/lock", fcntl.LOCK_NB):  # as DVC does
        write_whole(root / COPY, (root / "dvc.lock").read_bytes())


def mend(root: Path) -> None:
    """Puts the copy in the place of a dvc.lock that cannot be read. Raises ValueError where there is none."""
    lock, copy = root / "dvc.lock", root / COPY
    if not lock.exists() or readable(lock.read_text(errors="replace")):
        keep(root)
        return
    if not copy.exists():
        raise ValueError(
            f"{lock} cannot be read: DVC may have been ended while it wrote it. `git checkout dvc.lock` brings back "
            "what was committed; where nothing was, remove it, and DVC takes from its cache what it has run before"
        )
    cut = copy.with_name("dvc.lock.cut")
    shutil.copyfile(lock, cut)
    write_whole(lock, copy.read_bytes())
    told = "%s could not be read: it is now what the last stage of a flow left, and what it was is %s"
    get_run_logger().warning(told, lock, cut)


def readable(lock: str) -> bool:
    """Whether DVC can read it. What was cut off is empty, no YAML, or ends with a name that has no content."""
    try:
        written = read(lock)
        stages = written.get("stages", {}).values()
        entries = [entry for stage in stages for part in ("deps", "outs") for entry in stage.get(part, ())]
        filled = all(isinstance(entry[part], KINDS[part]) for entry in entries for part in entry.keys() & KINDS.keys())
        hashed = all(MD5.fullmatch(entry["md5"]) for entry in entries if "md5" in entry)
        params = [file for stage in stages for file in stage.get("params", {}).values()]
        named = all(stage["cmd"] for stage in stages) and all(isinstance(file, dict) for file in params)
        return bool(written["schema"]) and filled and hashed and named
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False
