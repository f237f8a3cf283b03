"""Which commit is checked out, and what else Git says."""

import subprocess
from pathlib import Path

OURS = ("**/dvc.lock", "**/*.dvc", "**/registry/**")  # what a flow that promotes changes in Git's eyes


def revision(folder: Path) -> str | None:
    """The commit that is checked out, "...-dirty" where files have changed since, None outside Git.

    Not counted is what a flow itself changes: dvc.lock, *.dvc and the registry.
    """
    changed = ["status", "--porcelain", "--untracked-files=no", "--", ":/"]
    head = git(folder, "rev-parse", "HEAD")
    dirty = head and git(folder, *changed, *(f":(top,exclude,glob){part}" for part in OURS))
    return f"{head}-dirty" if dirty else head


def git(folder: Path, *arguments: str) -> str | None:
    """What Git says in `folder`; None where it fails, or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, text=True, capture_output=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
