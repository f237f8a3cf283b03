"""An environment belongs to the folder that it was made in."""

import shutil
import subprocess

import pytest
from project import ROOT


@pytest.mark.parametrize(
    ("says", "done"),
    [
        (None, "-m venv .venv"),
        ("{here}", "is up to date"),
        ("/elsewhere", "-m venv --clear .venv"),  # a copy, or moved: its scripts would run that one's code
        ("", "-m venv --clear .venv"),
    ],
)
def test_one_that_was_made_elsewhere_is_made_anew(tmp_path, says, done):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    if says is not None:
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv/ready").write_text(says.format(here=tmp_path.resolve()))
    told = subprocess.run(["make", "-n", ".venv/ready"], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert done in " ".join(told.stdout.split())
