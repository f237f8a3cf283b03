"""An environment belongs to the folder that it was made in, and is the same wherever it is made."""

import shutil
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
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


def test_all_that_is_asked_for_has_its_version_in_constraints_txt():
    """Or what is published tomorrow is what tomorrow's checkout has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    pins = {canonicalize_name(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    free = {canonicalize_name(Requirement(each).name) for each in asked} - pins
    assert not free, f"add {min(free)}==VERSION, as `pip freeze` says it, to constraints.txt"
