import importlib
import re
import tomllib
from importlib.resources import files

import torch
from project import ROOT
from shown import run

from tutelage.systems import SYSTEMS

PAGE = (ROOT / "docs/library.md").read_text()


def test_what_the_page_shows_runs_and_does_what_it_says(capsys):
    shown = run("docs/library.md")
    assert shown["right"].float().mean() > 0.9  # of four classes, from 12 labels
    with torch.inference_mode():
        said = shown["alone"](shown["pool"].to(shown["accelerator"].device)).logits.argmax(1).cpu()
    assert (said == shown["hidden"]).float().mean() > 0.9  # by the loop that the page writes out
    assert shown["gain"].reduction.low > 0
    assert (shown["run"].step, shown["scene_run"].step) == (5, 2)
    assert [each.places.shape[1:] for each in shown["found"]] == [(4,)] * 2
    assert "40 {'task'" in capsys.readouterr().out


def test_the_page_names_every_loop_of_the_survey_and_what_it_begins_with():
    rows = re.findall(r"^\| (`.*?) \| (.*) \| `(\w+)` \|$", PAGE, re.MULTILINE)
    named = {name for names, what, _ in rows for name in re.findall(r"`(\w+)`", names + what)}
    assert set(re.findall(r"loop:(\w+)", " ".join(system.runs for system in SYSTEMS.values()))) <= named
    for names, _, start in rows:
        for name in re.findall(r"\w+", names):
            assert callable(getattr(importlib.import_module(f"tutelage.train.{name}"), start)), name


def test_who_installs_the_library_has_its_types():
    """All that lies in the packages goes into a wheel."""
    assert (files("tutelage") / "py.typed").is_file()
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert built == {"wheel": {"packages": ["src/tutelage"]}}
