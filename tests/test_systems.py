"""The table of systems says only what is so, and the pages made from it are not stale."""

import importlib
import inspect
import re

import pytest
import yaml

from tasks.fair import uneven
from tasks.params import load
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
    several = {name for name, runs in RUNNING.items() if f"multitask:{name}" in runs.split("+")}
    assert several == set(MULTITASK_METHODS) & set(SYSTEMS)
    seeing = {name for name in SYSTEMS if name in DETECTION_METHODS and name not in METHODS}
    assert seeing == {name for name, runs in RUNNING.items() if f"detection:{name}" in runs.split("+")}


def test_recipes_are_sections_of_params(pytestconfig, tmp_path):
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    assert {"ban", "noisy_student", "takd"} <= set(recipes(pytestconfig))
    for name, path in recipes(pytestconfig).items():
        recipe = yaml.safe_load(path.read_text())
        assert set(recipe) <= set(known), name
        if {"compress", "multitask", "adapt", "adapt_scenes", "strings", "keypoints"} & set(recipe):
            continue
        own, all_of = (content.get("detection", content) if "detection" in recipe else content
                       for content in (recipe, known))  # fmt: skip
        merged = known | ({"detection": all_of | own} if "detection" in recipe else own)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(merged))
        params = load(tmp_path / "params.yaml")  # refuses what is no parameter
        assert uneven(params) == uneven(params.detection) == [], name
        if "detection" not in recipe:
            for section in set(own) - {"rounds", "last"}:
                assert set(own[section]) <= set(all_of[section]), f"{name}.{section}"
            method = dict(own["student"]["method"])
            TABLES["method"][method.pop("name")](**method)
        rounds = range(1, len(own["rounds"]) + 1)
        above = "work/detection" if "detection" in recipe else "work"
        teachers = [f"{above}/teacher", *(f"{above}/rounds/{n}/guard" for n in rounds)]
        assert [own["rounds"][str(n)]["teacher"] for n in rounds] == teachers[:-1]
        assert own["last"] == len(own["rounds"])
        assert "https://arxiv.org/abs/" in path.read_text()


def test_turns_of_domains_are_params(pytestconfig, tmp_path):
    content = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    content["adapt"] |= yaml.safe_load(recipes(pytestconfig)["tscl"].read_text())["adapt"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    found = load(tmp_path / "params.yaml").adapt
    assert {name for name, item in found.candidates.items() if item.turns} == {"tscl", "tscl_adamatch"}
    assert len(found.ingest.source) == 2


def test_a_chain_over_a_student_friendly_teacher_is_params(pytestconfig, tmp_path):
    text = recipes(pytestconfig)["sftn"].read_text()
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    known["compress"] |= yaml.safe_load(text)["compress"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(known))
    found = load(tmp_path / "params.yaml")
    first, last = found.compress.chain.values()
    assert isinstance(first.learn, SFTN)
    assert first.learn.student == found.resized(last.network, "")
    assert (first.network, last.learn) == (found.compress.network, None)
    links = re.sub(r"\n#\s+(?=networks)", " ", text)
    others = [yaml.safe_load(line[1:])["1"] for line in links.splitlines() if line.startswith('#   "1": ')]
    for link in others:
        known["compress"] |= {"chain": {"1": link}, "last": 1}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(known))
        load(tmp_path / "params.yaml")
    assert [link["learn"]["name"] for link in others] == ["metadistil", "nas_student", "oracle_search"]


@pytest.mark.parametrize(
    ("name", "learners"),
    [("adversarial", ["FeatureCritic"] * 3 + ["KDGAN", "FeatureCritic"]), ("multi_teacher_avg", ["RLKD", "NoneType"])],
)
def test_links_that_recipes_offer_are_params(pytestconfig, tmp_path, name, learners):
    text = recipes(pytestconfig)[name].read_text()
    recipe = yaml.safe_load(text)
    offered = [yaml.safe_load(line[1:]) for line in text.splitlines() if line.startswith('#   "1": ')]
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    found = []
    for chain in (*offered, recipe["compress"]["chain"]):
        known["compress"] |= recipe["compress"] | {"chain": chain}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(known))
        found.append(type(load(tmp_path / "params.yaml").compress.chain[1].learn).__name__)
    assert found == learners


@pytest.mark.parametrize(("name", "teachers"), [("multi_teacher_avg", 3), ("pate", 10)])
def test_several_teachers_are_params(pytestconfig, tmp_path, name, teachers):
    recipe = yaml.safe_load(recipes(pytestconfig)[name].read_text())
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    known |= recipe | {"compress": known["compress"] | recipe["compress"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(known))
    found = load(tmp_path / "params.yaml")
    assert len(found.committee.every()) == teachers
    assert found.committee.disjoint == (name == "pate")
    assert found.compress.chain[1].teacher == "work/committee"


def test_more_ways_to_adapt_pixels_are_params(pytestconfig, tmp_path):
    text = recipes(pytestconfig)["adapt_scenes"].read_text()
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    own = yaml.safe_load(text.replace("\n  # ", "\n  "))["adapt_scenes"]  # with the data of one's own
    known["adapt_scenes"] |= own
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(known))
    found = load(tmp_path / "params.yaml").adapt_scenes
    assert found.ingest.root == "nuclei"
    names = {"adabn", "mean_teacher", "fda", "class_mix", "mic", "adaptsegnet", "adaptsegnet_2", "bdl", "cycada"}
    assert names == set(found.candidates)
    assert len({(str(way.learn), way.levels) for way in found.candidates.values()}) == len(found.candidates)
    bdl, cycada = (found.candidates[name] for name in ("bdl", "cycada"))
    translators = {"bdl": bdl.steps // 3, "cycada": cycada.learn.ends(cycada.steps)[0]}  # steps that teach no network
    spent = {found.source.steps + way.steps - translators.get(name, 0) for name, way in found.candidates.items()}
    assert spent == {found.baseline.steps} == {found.oracle.steps}


def test_the_phases_of_dug_are_params(pytestconfig, tmp_path):
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    known["detection"] |= yaml.safe_load(recipes(pytestconfig)["dug_multiphase"].read_text())["detection"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(known))
    found = load(tmp_path / "params.yaml").detection
    assert [(one.easiest, one.boxes) for one in found.rounds.values()] == [(0.5, "teacher"), (1.0, "agreed")]
    assert found.fuse.weights == (0.9, 1.0, 1.4)
    assert found.baseline.steps == found.teacher.steps + len(found.rounds) * found.student.steps


def test_turns_of_tasks_are_params(pytestconfig, tmp_path):
    text = recipes(pytestconfig)["turns"].read_text()
    known = yaml.safe_load((pytestconfig.rootpath / "params.yaml").read_text())
    assert load(pytestconfig.rootpath / "params.yaml").multitask.student.turns is None
    known["multitask"] |= yaml.safe_load(text)["multitask"]
    (bandit,) = [yaml.safe_load(line[1:])["turns"] for line in text.splitlines() if line.startswith("#   turns: ")]
    for turns in (known["multitask"]["student"]["turns"], bandit):
        known["multitask"]["student"]["turns"] = turns
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(known))
        found = load(tmp_path / "params.yaml").multitask.student.turns
        assert type(found.learn) is {"multilingual_nmt": MultilingualNMT, "tscl": TSCL}[turns["learn"]["name"]]


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
    heads = {
        "method": "## Methods\n",
        "detection": "## Methods of detection",
        "multitask": "## Methods of several tasks",
    }
    page = render().split(heads[kind])[1].split("\n## ")[0]
    for name, cls in TABLES[kind].items():
        assert f"### `{name}`" in page
        for field in inspect.signature(cls).parameters:
            assert re.search(rf"^\| `{field}` \| `[^|]+ \| [^|]+", page, re.MULTILINE), f"{name}.{field}"
