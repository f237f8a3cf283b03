"""The table of systems says only what is so, and the pages made from it are not stale."""

import importlib
import inspect
import re
from dataclasses import fields, is_dataclass

import pytest
from project import ROOT, content, known, merged, recipe, write

from tasks import knobs
from tasks.adapt_params import parse_learner
from tasks.adapt_scenes_params import parse_scene_learner
from tasks.fair import uneven
from tasks.lesson_params import parse_loop
from tasks.params import load
from tasks.strings_params import parse_work
from tasks.turn_params import parse_guide
from tasks.written import read
from tutelage.catalogue import render
from tutelage.methods import METHODS
from tutelage.methods.detection import DETECTION_METHODS
from tutelage.methods.multitask import MULTITASK_METHODS
from tutelage.systems import SYSTEMS
from tutelage.train.multilingual_nmt import MultilingualNMT
from tutelage.train.sftn import SFTN
from tutelage.train.tscl import TSCL

TABLES = {"method": METHODS, "detection": DETECTION_METHODS, "multitask": MULTITASK_METHODS}
MODULES = {"loop": "tutelage.train", "analysis": "tutelage.analysis"}  # where each kind is found
RUNNING = {name: system.runs for name, system in SYSTEMS.items() if system.runs}


RECIPES = {path.stem: path.read_text() for path in (ROOT / "docs/recipes").glob("*.yaml")}


def checked(folder, sections):
    """The params with a recipe's sections. Refuses what is no parameter."""
    return load(write(folder / "params.yaml", merged(sections)))


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
        assert target in RECIPES
    else:
        module = importlib.import_module(f"{MODULES[kind]}.{target}")
        assert re.search(r"https://(arxiv\.org/abs|doi\.org)/", module.__doc__), "cite the paper"
        folder = MODULES[kind].removeprefix("tutelage.")
        assert (pytestconfig.rootpath / f"tests/{folder}/test_{target}.py").exists()


def test_a_system_that_has_a_method_says_so():
    assert {name for name in SYSTEMS if name in METHODS} == {n for n, runs in RUNNING.items() if runs[:6] == "method"}
    several = {name for name, runs in RUNNING.items() if f"multitask:{name}" in runs.split("+")}
    assert several == set(MULTITASK_METHODS) & set(SYSTEMS)
    seeing = {name for name in SYSTEMS if name in DETECTION_METHODS and name not in METHODS}
    assert seeing == {name for name, runs in RUNNING.items() if f"detection:{name}" in runs.split("+")}


def test_recipes_are_sections_of_params(tmp_path):
    assert {"ban", "noisy_student", "takd"} <= set(RECIPES)
    for name, text in RECIPES.items():
        written, plain = recipe(name), content()
        assert set(written) <= set(plain), name
        if {"compress", "multitask", "adapt", "adapt_scenes", "strings", "keypoints"} & set(written):
            continue
        params = checked(tmp_path, written)
        assert uneven(params) == uneven(params.detection) == [], name
        own = written.get("detection", written)
        if "detection" not in written:
            for section in set(own) - {"rounds", "last"}:
                assert set(own[section]) <= set(plain[section]), f"{name}.{section}"
            method = dict(own["student"]["method"])
            TABLES["method"][method.pop("name")](**method)
        rounds = range(1, len(own["rounds"]) + 1)
        above = "work/detection" if "detection" in written else "work"
        teachers = [f"{above}/teacher", *(f"{above}/rounds/{n}/guard" for n in rounds)]
        assert [own["rounds"][str(n)]["teacher"] for n in rounds] == teachers[:-1]
        assert own["last"] == len(own["rounds"])
        assert "https://arxiv.org/abs/" in text


def silent(plain, found, written, name):
    """Values that are others than without a recipe, of keys that it does not write."""
    if is_dataclass(plain) and type(plain) is type(found):
        plain, found = ({one.name: getattr(each, one.name) for one in fields(each)} for each in (plain, found))
    if isinstance(plain, dict) and isinstance(found, dict) and isinstance(written, dict):
        for key in {*plain, *found} - {"learn", "rounds", "chain", "candidates", "answers"}:  # entries, not values
            if key in written:
                yield from silent(plain.get(key), found.get(key), written[key], f"{name}.{key}")
            elif plain.get(key) != found.get(key):
                yield f"{name}.{key}"


@pytest.mark.parametrize(
    "name", sorted(RECIPES.keys() - {"bccd_detectron2"})
)  # whose network has its width from `config`
def test_a_section_that_a_recipe_replaces_changes_no_value_without_a_word(tmp_path, name):
    assert list(silent(known(), checked(tmp_path, recipe(name)), recipe(name), name)) == []


def test_turns_of_domains_are_params(tmp_path):
    found = checked(tmp_path, recipe("tscl")).adapt
    assert {name for name, item in found.candidates.items() if item.turns} == {"tscl", "tscl_adamatch"}
    assert len(found.ingest.source) == 2


def test_a_chain_over_a_student_friendly_teacher_is_params(tmp_path):
    found = checked(tmp_path, recipe("sftn"))
    first, last = found.compress.chain.values()
    assert isinstance(first.learn, SFTN)
    assert first.learn.student == found.resized(last.network, "")
    assert (first.network, last.learn) == (found.compress.network, None)
    links = re.sub(r"\n#\s+(?=networks)", " ", RECIPES["sftn"])
    others = [read(line[1:])["1"] for line in links.splitlines() if line.startswith('#   "1": ')]
    for link in others:
        checked(tmp_path, {"compress": recipe("sftn")["compress"] | {"chain": {"1": link}, "last": 1}})
    assert [link["learn"]["name"] for link in others] == ["metadistil", "nas_student", "oracle_search"]


@pytest.mark.parametrize(
    ("name", "learners"),
    [("adversarial", ["FeatureCritic"] * 3 + ["KDGAN", "FeatureCritic"]), ("multi_teacher_avg", ["RLKD", "NoneType"])],
)
def test_links_that_recipes_offer_are_params(tmp_path, name, learners):
    offered = [read(line[1:]) for line in RECIPES[name].splitlines() if line.startswith('#   "1": ')]
    own = recipe(name)["compress"]
    found = [checked(tmp_path, {"compress": own | {"chain": chain}}).compress for chain in (*offered, own["chain"])]
    assert [type(each.chain[1].learn).__name__ for each in found] == learners


@pytest.mark.parametrize(("name", "teachers"), [("multi_teacher_avg", 3), ("pate", 10)])
def test_several_teachers_are_params(tmp_path, name, teachers):
    found = checked(tmp_path, recipe(name))
    assert len(found.committee.every()) == teachers
    assert found.committee.disjoint == (name == "pate")
    assert found.compress.chain[1].teacher == "work/committee"


def test_more_ways_to_adapt_pixels_are_params(tmp_path):
    own = read(RECIPES["adapt_scenes"].replace("\n  # ", "\n  "))  # with the data of one's own
    found = checked(tmp_path, own).adapt_scenes
    assert found.ingest.root == "nuclei"
    names = {"adabn", "mean_teacher", "fda", "class_mix", "mic", "adaptsegnet", "adaptsegnet_2", "bdl", "cycada"}
    assert names == set(found.candidates)
    assert len({(str(way.learn), way.levels) for way in found.candidates.values()}) == len(found.candidates)
    bdl, cycada = (found.candidates[name] for name in ("bdl", "cycada"))
    translators = {"bdl": bdl.steps // 3, "cycada": cycada.learn.ends(cycada.steps)[0]}  # steps that teach no network
    spent = {found.source.steps + way.steps - translators.get(name, 0) for name, way in found.candidates.items()}
    assert spent == {found.baseline.steps} == {found.oracle.steps}


def test_the_phases_of_dug_are_params(tmp_path):
    found = checked(tmp_path, recipe("dug_multiphase")).detection
    assert [(one.easiest, one.boxes) for one in found.rounds.values()] == [(0.5, "teacher"), (1.0, "agreed")]
    assert found.fuse.weights == (0.9, 1.0, 1.4)
    assert found.baseline.steps == found.teacher.steps + len(found.rounds) * found.student.steps


def test_turns_of_tasks_are_params(tmp_path):
    assert known().multitask.student.turns is None
    own = recipe("turns")["multitask"]
    lines = RECIPES["turns"].splitlines()
    (bandit,) = [read(line[1:])["turns"] for line in lines if line.startswith("#   turns: ")]
    for turns in (own["student"]["turns"], bandit):
        wanted = own | {"student": own["student"] | {"turns": turns}}
        found = checked(tmp_path, {"multitask": wanted}).multitask.student.turns
        assert type(found.learn) is {"multilingual_nmt": MultilingualNMT, "tscl": TSCL}[turns["learn"]["name"]]


def test_assistants_shrink():
    rounds = recipe("takd")["rounds"]
    widths = [known().network.width, *(rounds[n]["network"]["width"] for n in sorted(rounds))]
    assert widths == sorted(set(widths), reverse=True)


PARSERS = [
    knobs.parse_method, knobs.parse_detection_method, knobs.parse_multitask_method, knobs.parse_depth_method,
    parse_loop, parse_learner, parse_scene_learner, parse_guide, parse_work,
]  # fmt: skip


@pytest.mark.parametrize("parse", PARSERS, ids=[parse.__name__ for parse in PARSERS])
def test_who_writes_a_system_where_it_does_not_run_is_told_what_runs_it_and_no_guess(parse):
    for name in SYSTEMS:
        with pytest.raises(ValueError, match=r"^(?!.*Did you mean)"):
            parse({"name": name, "nothing": 0})


def test_a_loop_that_makes_no_classifier_is_not_sent_to_the_chain_which_refuses_it():
    for name in ("vad_ordinal", "uninformed_students"):
        with pytest.raises(ValueError, match=r"as lesson\.learn and run `python -m tasks lesson`$"):
            knobs.parse_method({"name": name})


@pytest.fixture(scope="module")
def catalogue():
    return render()


def test_the_catalogue_is_not_stale(catalogue):
    assert (ROOT / "docs/methods.md").read_text() == catalogue, "run: python -m tutelage.catalogue > docs/methods.md"


@pytest.mark.parametrize("kind", TABLES)
def test_the_catalogue_shows_every_field_with_its_meaning(catalogue, kind):
    heads = {
        "method": "## Methods\n",
        "detection": "## Methods of detection",
        "multitask": "## Methods of several tasks",
    }
    page = catalogue.split(heads[kind])[1].split("\n## ")[0]
    for name, cls in TABLES[kind].items():
        assert f"### `{name}`" in page
        for field in inspect.signature(cls).parameters:
            assert re.search(rf"^\| `{field}` \| `[^|]+ \| [^|]+", page, re.MULTILINE), f"{name}.{field}"
