"""The table of systems says only what is so, and the pages made from it are not stale."""

import importlib
import inspect
import re

import pytest
import yaml

from tutelage.catalogue import render
from tutelage.methods import METHODS
from tutelage.methods.detection import DETECTION_METHODS
from tutelage.systems import SYSTEMS

TABLES = {"method": METHODS, "detection": DETECTION_METHODS}
MODULES = {"loop": "tutelage.train", "analysis": "tutelage.analysis"}  # where each kind is found
RUNNING = {name: system.runs for name, system in SYSTEMS.items() if system.runs}


def recipes(pytestconfig):
    return {path.stem: path for path in (pytestconfig.rootpath / "docs/recipes").glob("*.yaml")}


def test_all_systems_of_the_survey_are_there():
    assert len(SYSTEMS) == 89
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in SYSTEMS)
    assert all(re.fullmatch(r"(\[\d+\](, )?)+|s\d\.\d", system.ref) for system in SYSTEMS.values())
    assert len({system.title for system in SYSTEMS.values()}) == 89


def test_words_are_from_short_lists():
    words = {
        "objective": {"KD", "KE", "KA", "MTL", "analysis"},
        "knowledge": {"response", "feature", "relation", "sequence", "image", "unknown", ""},
        "scheme": {"offline", "online", "self", "joint", "generations", "staged", ""},
    }
    for name, system in SYSTEMS.items():
        for column, allowed in words.items():
            written = re.sub(r"\([^)]*\)", "", getattr(system, column))
            assert set(written.split("+")) <= allowed, f"{name}.{column}"


PARTS = [(name, part) for name, runs in RUNNING.items() for part in runs.split("+")]


@pytest.mark.parametrize(("name", "runs"), PARTS, ids=[" ".join(part) for part in PARTS])
def test_what_is_said_to_run_exists(pytestconfig, name, runs):
    kind, target = runs.split(":")
    assert kind in ("stages", *TABLES, *MODULES)
    if kind in TABLES:
        assert target == name
        assert target in TABLES[kind]
    elif kind == "stages":
        assert target in recipes(pytestconfig)
    else:
        module = importlib.import_module(f"{MODULES[kind]}.{target}")
        assert re.search(r"https://(arxiv\.org/abs|doi\.org)/", module.__doc__), "cite the paper"
        folder = MODULES[kind].removeprefix("tutelage.")
        assert (pytestconfig.rootpath / f"tests/{folder}/test_{target}.py").exists()


def test_a_system_that_has_a_method_says_so():
    assert {name for name in SYSTEMS if name in METHODS} == {n for n, runs in RUNNING.items() if runs[:6] == "method"}
    seeing = {name for name in SYSTEMS if name in DETECTION_METHODS and name not in METHODS}
    assert seeing == {name for name, runs in RUNNING.items() if f"detection:{name}" in runs.split("+")}


def test_recipes_are_sections_of_params(pytestconfig):
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    assert {"ban", "noisy_student", "takd"} <= set(recipes(pytestconfig))
    for name, path in recipes(pytestconfig).items():
        recipe = yaml.safe_load(path.read_text())
        assert set(recipe) <= set(known), name
        for section in set(recipe) - {"rounds", "last"}:
            assert set(recipe[section]) <= set(known[section]), f"{name}.{section}"
        method = dict(recipe["student"]["method"])
        METHODS[method.pop("name")](**method)
        rounds = range(1, len(recipe["rounds"]) + 1)
        teachers = ["work/teacher", *(f"work/rounds/{n}/guard" for n in rounds)]
        assert [recipe["rounds"][n]["teacher"] for n in rounds] == teachers[:-1]
        assert recipe["last"] == len(recipe["rounds"])
        assert "https://arxiv.org/abs/" in path.read_text()


def test_assistants_shrink(pytestconfig):
    recipe = yaml.safe_load(recipes(pytestconfig)["takd"].read_text())
    widths = [recipe["rounds"][n]["network"]["width"] for n in sorted(recipe["rounds"])]
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    assert [known["network"]["width"], *widths] == sorted({known["network"]["width"], *widths}, reverse=True)


def test_the_catalogue_is_not_stale(pytestconfig):
    written = (pytestconfig.rootpath / "docs/methods.md").read_text()
    assert written == render(), "run: python -m tutelage.catalogue > docs/methods.md"


@pytest.mark.parametrize("kind", TABLES)
def test_the_catalogue_shows_every_field_with_its_meaning(kind):
    before, after = render().split("## Methods of detection")
    page = before if kind == "method" else after
    for name, cls in TABLES[kind].items():
        assert f"### `{name}`" in page
        for field in inspect.signature(cls).parameters:
            assert re.search(rf"^\| `{field}` \| `[^|]+ \| [^|]+", page, re.MULTILINE), f"{name}.{field}"
