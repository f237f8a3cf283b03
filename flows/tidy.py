"""Frees the disk of what no run needs any more:  python -m flows.tidy [--dry] [--older] [--remote]

What stays: what `dvc.lock` and `*.dvc` name, here and in any commit of Git, and what the runs that models in production
and the champions came from have read and written, which `run.json` beside a model names and often no commit does.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.child import Failed
from flows.lock import Busy, alone
from tasks.closed_pipe import quiet
from tasks.finished import UNFINISHED
from tasks.io import bad_input, read_json
from tasks.locked import kept
from tasks.promote import RUN, STORY

IDLE = 7 * 24 * 3600  # seconds: what was left of a run for so long, nobody continues
REMOVING = "Removing "  # how `dvc gc --dry` begins the line of a file


@quiet
def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.tidy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry", action="store_true", help="only say what would go")
    parser.add_argument("--older", action="store_true", help="what nothing but commits of Git names goes, too")
    parser.add_argument("--remote", action="store_true", help="the default remote, too: only where it is yours alone")
    asked = parser.parse_args()
    try:
        with alone(Path(), "flows.tidy"):
            for line in tidy(dry=asked.dry, older=asked.older, remote=asked.remote):
                print(line, flush=True)
    except (Busy, Failed, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def tidy(*, dry: bool, older: bool, remote: bool) -> Iterator[str]:
    """Says what goes, a line a kind, and removes it where that is not `dry`. In a flow's checkout, alone."""
    goes = "would go" if dry else "goes"
    commits = Path(".git").exists() and not older
    with ExitStack() as stack:
        runs = [stack.enter_context(project(file, git=commits)) for file in sorted(Path("registry").rglob(RUN))]
        scope = ["--all-commits" if commits else "--workspace", *(["--cloud"] if remote else [])]
        also = ["--projects", *map(str, runs)] if runs else []
        said = dvc("gc", *scope, "--force", "--dry", *also)
        files = [Path(line.removeprefix(REMOVING)) for line in said.splitlines() if line.startswith(REMOVING)]
        yield f"of DVC {goes}: {_told(files)}"
        if files and not dry:
            dvc("gc", *scope, "--force", *also)
    for folder in idle(time.time() - IDLE):
        yield f"{folder} {goes}: {_told([*folder.rglob('*')])}, left by a run that was cut off"
        if not dry:
            shutil.rmtree(folder)


@contextmanager
def project(run: Path, *, git: bool) -> Iterator[Path]:
    """A project of DVC's with what `run`, a run.json, keeps: DVC keeps what its dvc.lock names. Raises BadInput.

    In a `git` of its own where DVC is to go through commits, which it does of each project.
    """
    try:
        texts = {name: str(read_json(run)[name]) for name in STORY}
    except (ValueError, KeyError, TypeError):
        raise bad_input(f"{run} does not hold {', '.join(STORY)}. `git checkout {run}` restores it") from None
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".dvc").mkdir()
        no_scm = "" if git else "[core]\n    no_scm = true\n"
        (folder / ".dvc/config").write_text(f'{no_scm}[cache]\n    dir = "{kept().cache.resolve()}"\n')
        if git:
            subprocess.run(["git", "init", "--quiet", name], check=True)
        for file, text in texts.items():
            (folder / file).write_text(text)
        yield folder


def dvc(*arguments: str) -> str:
    """What `dvc ARGUMENTS` prints. Raises Failed."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        raise Failed(f"`dvc {' '.join(arguments)}` ended with exit code {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def idle(before: float) -> list[Path]:
    """Folders of runs that were cut off in which nothing was written since `before`: whoever still works, does."""
    folders = [path for path in sorted(UNFINISHED.glob("*/*")) if path.is_dir()]
    return [each for each in folders if max(p.stat().st_mtime for p in (each, *each.rglob("*"))) < before]


def _told(files: list[Path]) -> str:
    """How many, and their bytes as far as they are on this disk."""
    found = [file.stat().st_size for file in files if file.is_file()]
    return f"{len(files):,} files, {sum(found) / 1e6:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
