"""What `dvc plots` and `dvc metrics` show of a run: the plots and metrics of dvc.yaml over the files of a report."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from project import ROOT, environment
from small_work import make_work

from tasks.graph import stages
from tasks.io import read_json, write_json
from tasks.report import report

pytestmark = pytest.mark.slow  # four times DVC


def dvc(root, *words):
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=root, env=environment(), check=True, text=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A repository whose files are those of a report, committed."""
    root = tmp_path_factory.mktemp("plots")
    work, params = make_work(root)
    report(work, params=params, out=root / "reports")
    whole = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    (root / "dvc.yaml").write_text(yaml.safe_dump({key: whole[key] for key in ("metrics", "plots")}))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc(root, "init", "-q")
    shutil.copytree(ROOT / ".dvc/plots", root / ".dvc/plots")
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    named = ["-c", "user.name=a", "-c", "user.email=a@b.org"]
    subprocess.run(["git", *named, "commit", "-qm", "a run"], cwd=root, check=True)
    return root


def lines(plot):
    """The points of each line that is drawn: those of one colour and one dash."""
    encoding = plot["content"]["encoding"]
    colour, dash, x, y = (encoding[channel].get("field") for channel in ("color", "strokeDash", "x", "y"))
    found = {}
    for point in plot["content"]["data"]["values"]:
        found.setdefault((point[colour], point[dash]), []).append((point[x], point[y]))
    return found


def test_each_run_is_a_line_of_its_own(run):
    shown = json.loads(dvc(run, "plots", "show", "--json"))["data"]
    drawn = {name: lines(plots[0]) for name, plots in shown.items() if plots}  # the others have not run
    assert drawn.keys() == {"Test error by round", "reports/curves.csv", "reports/reliability.csv"}
    assert {line for line, _ in drawn["reports/curves.csv"]} == {"teacher", "baseline", "student 1", "student 2"}
    assert {name for _, name in drawn["Test error by round"]} == {"error", "baseline_error", "oracle_error"}
    assert len(drawn["reports/reliability.csv"]) == 2 * 2 + 3  # two rounds before and after calibration, three models
    for points in (points for plot in drawn.values() for points in plot.values()):
        at = [float(x) for x, _ in points]
        assert at == sorted(set(at))  # a line that does not turn back


def test_metrics_of_each_round_are_compared_between_commits(run):
    told = read_json(run / "reports/summary.json")
    assert told["rounds"].keys() == {"1", "2"}
    told["rounds"]["2"]["error"] += 0.25
    write_json(run / "reports/summary.json", told)
    changed = json.loads(dvc(run, "metrics", "diff", "--json"))
    assert changed["reports/summary.json"]["rounds.2.error"]["diff"] == pytest.approx(0.25)


def test_every_model_that_is_tested_has_its_metrics_listed():
    """Those of rounds are in summary.json: dvc.yaml cannot know how many there are."""
    verbs = ("tasks evaluate ", "tasks box_evaluate ", "tasks box_fuse ")
    tested = [stage.writes[0] for stage in stages(ROOT) if any(verb in stage.command for verb in verbs)]
    listed = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"])
    assert {f"{out}/metrics.json" for out in tested if "/rounds/" not in out} <= listed
