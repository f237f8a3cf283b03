"""dvc.yaml is the only graph; new data is a part of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from toy import Toy, runs_of, step, story

from flows.dag import Policy, Stage, ancestors, load
from flows.reproduce import checkout

ROOT = Path(__file__).resolve().parents[2]
GROWS = re.compile(r"ingest\.root}$|/(ingest|labels|names|crops|rounds|candidates)$")  # inputs as large as the pool


def test_names_what_is_needed() -> None:
    dag = {"a": Stage("a"), "b": Stage("b", ("a",)), "c": Stage("c", ("b",)), "d": Stage("d")}
    assert ancestors(dag, ["b"]) == {"a", "b"}


def test_a_policy_that_is_misspelt_is_an_error(toy: Toy) -> None:
    toy.stages(a=step("a", retrys=3))
    with pytest.raises(ValueError, match=r"meta.prefect of stage a: .*'retrys'"):
        load(toy.root)


def test_a_copy_without_git_is_told_what_makes_it_a_checkout(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    with pytest.raises(ValueError, match=r"is not a git repository. `git init` makes it one$"):
        load(tmp_path)


def test_dvc_that_was_killed_says_nothing_but_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess("dvc", -9, stdout="", stderr="")
    monkeypatch.setattr("flows.dag.subprocess.run", lambda *_, **__: killed)
    with pytest.raises(ValueError, match=r"^dvc.yaml cannot be read: DVC ended with exit code -9$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("workers", "told"), [(0, "workers is 0: at least 1"), (2, "no dvc.yaml: run this in the root")]
)
def test_what_cannot_work_is_said_before_anything_is_written(tmp_path: Path, workers: int, told: str) -> None:
    with pytest.raises(ValueError, match=told), checkout(tmp_path, workers):
        pass
    assert not list(tmp_path.iterdir())


def test_new_images_are_taken_in_and_imports_are_known(toy: Toy) -> None:
    (toy.root / "images").write_text("one")
    elsewhere = toy.root.parent / "elsewhere"
    elsewhere.write_text("far")
    toy.dvc("add", "images")
    toy.dvc("import-url", str(elsewhere), "far")
    toy.stages(a=step("a", "images", "far", retries=2))
    dag = load(toy.root)
    assert dag["a"] == Stage("a", ("images.dvc", "far.dvc"), ("a", "a.md"), policy=Policy(retries=2), report="a.md")
    assert dag["images.dvc"] == Stage("images.dvc", writes=("images",), source=True)
    assert dag["far.dvc"] == Stage("far.dvc", writes=("far",), source=True, imported=True)

    (toy.root / "images").write_text("one and two")
    elsewhere.write_text("farther")
    state = story(toy.root, [["a"]], update=True, return_state=True)
    assert runs_of(state.state_details.flow_run_id) == {
        "update far.dvc": "Completed",
        "images.dvc": "Completed",
        "far.dvc": "Cached",
        "a": "Completed",
    }
    assert (toy.root / "a").read_text() == "aone and twofarther"
    assert toy.dvc("status", "--json").strip() == "{}"


def test_flows_load_no_tensors() -> None:
    flows = "flows.compare, flows.compress, flows.expand, flows.retrain, flows.ui"
    code = f"import sys, {flows}; sys.exit(bool({{'torch', 'pyarrow'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_stage_whose_time_grows_with_the_pool_may_take_as_long_as_labelling() -> None:
    """One that is ended has kept nothing, and would be ended again every night."""
    stages = {
        name: one.get("do", one) for name, one in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
    }
    limits = {name: stage.get("meta", {}).get("prefect", {}).get("timeout") for name, stage in stages.items()}
    endless = [name for name, limit in limits.items() if not limit]
    assert not endless, f"give {endless} of dvc.yaml `meta: {{prefect: {{timeout: SECONDS}}}}`"
    large = {name for name, stage in stages.items() if any(GROWS.search(path) for path in stage["deps"])}
    assert {"ingest", "scenes_ingest", "box_crops", "box_report"} <= large
    assert {name: limits[name] for name in large if limits[name] < limits["box_label"]} == {}
