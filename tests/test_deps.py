"""A stage is stale when the code that decides its result changes: dvc.yaml names what the stage's file imports."""

import ast

import pytest
import yaml
from project import ROOT

from tasks.graph import check_written, unwritten
from tasks.params import load
from tutelage.types import BadInput

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# What reads params and files, words and progress, and how a run is continued: none decides what a run finds.
ASIDE = {
    "io", "params", "progress", "knobs", "text", "wording", "carry", "finished", "loops", "closed_pipe", "written",
    "mistakes",
}  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_tasks_that_it_imports(name):
    stage = STAGES[name].get("do", STAGES[name])
    verb = stage["cmd"].split("-m tasks ")[1].split()[0]
    found = ast.walk(ast.parse((ROOT / f"tasks/{verb}.py").read_text()))
    modules = {node.module for node in found if isinstance(node, ast.ImportFrom) and node.module}
    wanted = {part for each in modules if (part := each.removeprefix("tasks.")) != each} - ASIDE
    wanted = {part for part in wanted if not part.endswith("_params")} | {verb}
    assert sorted(f"tasks/{part}.py" for part in wanted) == sorted({*stage["deps"]} & {f"tasks/{p}.py" for p in wanted})


def test_a_root_with_a_blank_in_its_name_stays_one_word() -> None:
    for name, written in STAGES.items():
        assert "root}" not in written.get("do", written)["cmd"].replace('root}"', ""), name


def merged(recipe):
    """params.yaml with a recipe's sections in place of its own; one that changes `detection` keeps its other parts."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, section in (yaml.safe_load((ROOT / f"docs/recipes/{recipe}.yaml").read_text()) if recipe else {}).items():
        params[name] = params[name] | section if name == "detection" else section
    return params


@pytest.mark.parametrize("recipe", [None, "long", "few_labels", "bccd", "dug_multiphase"])
def test_params_that_stages_depend_on_are_there(recipe):
    """DVC refuses a stage that names what params.yaml lacks, and it may be the last of many hours."""
    assert unwritten(STAGES, merged(recipe)) == {}


def test_what_is_left_to_its_default_is_told_before_dvc_refuses_it(tmp_path):
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    written = merged(None)
    del written["pseudo_label"]["views"], written["detection"]["label"]["batch"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(BadInput) as caught:
        check_written(tmp_path, load(tmp_path / "params.yaml"))
    assert len(str(caught.value).splitlines()) == 3
    assert "  pseudo_label.views: write its default, 1 (stages calibrate, adapt_calibrate)" in str(caught.value)
    check_written(tmp_path / "elsewhere", None)  # without a dvc.yaml DVC refuses nothing
