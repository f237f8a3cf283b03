"""A stage is stale when the code that decides its result changes: dvc.yaml names what the stage's verb makes use of."""

import ast
import json
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from project import ROOT, content, merged, recipe, write

from tasks.__main__ import VERBS
from tasks.graph import check_written, stages_of, unwritten
from tasks.params import load
from tasks.written import read
from tutelage.types import BadInput

STAGES = read((ROOT / "dvc.yaml").read_text())["stages"]
# What reads params and files, words and progress: none decides what a run finds, and a changed word trains nothing.
ASIDE = {"io", "params", "progress", "knobs", "text", "wording", "finished", "closed_pipe", "written", "mistakes"}
# Columns of a table that stays empty; what no link of compression draws.
NEVER = {("multi_split", "SHARES"), ("anomalies", "_picture"), ("odd_ranks", "_picture")}


def given(node):
    """The names that a statement gives to something."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


@cache
def parts(module):
    """Of a file of tasks/ the statements at its top, by the names they give, and what it imports, (module, name)."""
    tree = ast.parse((ROOT / f"tasks/{module}.py").read_text())
    defined, imported = defaultdict(list), {}
    for node in tree.body:
        for name in given(node):
            defined[name].append(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("tasks."):
            inside = node.module.removeprefix("tasks").removeprefix(".")
            imported |= {each.asname or each.name: (inside or each.name, inside and each.name) for each in node.names}
    return dict(defined), imported


def used(module, name):
    """What the definition of a name speaks of, as (module, name)."""
    defined, imported = parts(module)
    if name not in defined and name in imported:
        yield imported[name]
    for node in (each for top in defined.get(name, ()) for each in ast.walk(top)):
        if isinstance(node, ast.Name):
            yield imported.get(node.id, (module, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            whole, part = imported.get(node.value.id, ("", None))
            if part == "":
                yield whole, node.attr


def reached(verb):
    """The modules of tasks/ whose code a verb makes use of, through whatever others."""
    seen, left = set(), [(verb, verb)]
    while left:
        each = left.pop()
        if each not in seen | NEVER and each[0] not in ASIDE and not each[0].endswith("_params"):
            seen.add(each)
            left += used(*each)
    return {module for module, _ in seen}


def verb_of(name):
    """What a stage asks `python -m tasks` for."""
    return STAGES[name].get("do", STAGES[name])["cmd"].split("-m tasks ")[1].split()[0]


def test_what_stages_ask_for_are_tasks():
    """Or the first night that reaches the stage says so."""
    unknown = {verb_of(name) for name in STAGES} - {*VERBS}
    assert not unknown, f"dvc.yaml runs `python -m tasks {min(unknown)}`: add it to VERBS in tasks/__main__.py"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_tasks_that_it_makes_use_of_and_on_no_others(name):
    stage = STAGES[name].get("do", STAGES[name])
    wanted = reached(verb_of(name))
    listed = {Path(each).stem for each in stage["deps"] if each.startswith("tasks/") and each.endswith(".py")}
    assert sorted(listed) == sorted(wanted)


def test_what_is_used_through_others_is_found_and_what_is_beside_it_is_not():
    """Truth asks box_training for `sizes_of`; adapt_scenes trains, which nothing does that ingests."""
    assert {"box_training", "multi_truth"} <= reached("multi_teacher")
    assert {"adapt_scenes", "scenes_ingest", "ingest"} <= reached("adapt_scenes_ingest")
    assert "multi_training" not in reached("adapt_scenes_ingest")


def test_a_folder_reaches_its_stage_as_one_word_whatever_its_name():
    """The shell would read `$5` as a variable and run what stands in `$( )`."""
    odd, params = 'my $5 `id` $(id) "photos"; #', content()
    for written in (params, params["detection"], params["adapt"], params["adapt_scenes"]):
        written["ingest"]["root"] = odd
    params["compress"]["chain"]["1"]["teacher"] = params["detection"]["compress"]["teacher"] = odd
    params["adapt"]["rounds"]["1"]["teacher"] = odd
    every = stages_of((ROOT / "dvc.yaml").read_text(), json.dumps(params))  # which is YAML
    reading = [each for each in every if odd in each.reads]
    assert len(reading) > 12
    told = "\n".join(f"python() {{ printf '%s\\0' \"$@\"; }}\n{each.command}" for each in reading)
    words = subprocess.run(["sh", "-c", told], check=True, capture_output=True, text=True).stdout.split("\0")
    assert words.count(odd) == len(reading)


@pytest.mark.parametrize("name", [None, "long", "few_labels", "bccd", "dug_multiphase"])
def test_params_that_stages_depend_on_are_there(name):
    """DVC refuses a stage that names what params.yaml lacks, and it may be the last of many hours."""
    assert unwritten(STAGES, merged(recipe(name) if name else {})) == {}


def test_what_is_left_to_its_default_is_told_before_dvc_refuses_it(tmp_path):
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    lacking = content()
    del lacking["pseudo_label"]["views"], lacking["detection"]["label"]["batch"]
    with pytest.raises(BadInput) as caught:
        check_written(tmp_path, load(write(tmp_path / "params.yaml", lacking)))
    assert len(str(caught.value).splitlines()) == 3
    assert "  pseudo_label.views: write its default, 1 (stages calibrate, adapt_calibrate)" in str(caught.value)
    check_written(tmp_path / "elsewhere", None)  # without a dvc.yaml DVC refuses nothing
