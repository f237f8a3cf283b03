import csv
import json
import re
import shutil
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from small_work import contents, make_work

from tasks.gallery import _edge, _of_each_class
from tasks.page import page
from tasks.report import report
from tasks.story import Changes, Some, changes_of, count_labels, read_story
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    work, params = make_work(folder)
    return work, params, report(work, params=params, out=folder / "reports")


def page_of(work, params):
    """report.html without its charts, which take longer to draw than all the rest."""
    with patch("tasks.page.svg", return_value="<svg></svg>"):
        return (report(work, params=params, out=work.parent / "reports") / "report.html").read_text()


def made(tmp_path, **settings):
    html = page_of(*make_work(tmp_path, **settings))
    out = tmp_path / "reports"
    assert "None" not in html  # nothing missing was printed
    return html, json.loads((out / "summary.json").read_text()), (out / "summary.md").read_text()


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_three_lines_and_the_gain(run):
    _, _, out = run
    summary = (out / "summary.md").read_text()
    lines = summary.splitlines()
    assert lines[2].startswith("| supervised only | 71.11 % | 28.89 % |")
    assert lines[3].startswith("| student of round 2 (promoted) | 91.11 % | 8.89 % |")
    assert lines[4].startswith("| all-labels oracle | 96.67 % | 3.33 % |")
    assert "**69.2 %** (95 % interval" in summary
    assert "\n- Promoted: the candidate's error is 69.2 % lower" in summary


def test_summary_numbers_are_those_of_the_evaluations(run):
    work, _, out = run
    found = json.loads((out / "summary.json").read_text())
    for name in ("teacher", "baseline", "candidate", "oracle"):
        metrics = json.loads((work / "evaluation" / name / "metrics.json").read_text())
        assert found[name]["accuracy"] == metrics["accuracy"]
        assert found[name]["error_low"] <= metrics["error"] <= found[name]["error_high"]
    assert found["gain"] == json.loads((work / "judge" / "verdict.json").read_text())["gain"]
    assert (found["promoted"], found["winner"]) == (True, "candidate")


def test_tables_for_plots(run):
    _, _, out = run
    rounds = rows(out / "rounds.csv")
    assert [row["round"] for row in rounds] == ["0", "1", "2"]
    assert [float(row["error"]) for row in rounds] == pytest.approx([30 / 90, 14 / 90, 8 / 90])
    assert [float(row["baseline_error"]) for row in rounds] == pytest.approx([26 / 90] * 3)
    assert float(rounds[1]["kept_precision"]) == pytest.approx(32 / 36)  # 36 kept, the first 4 wrong
    assert float(rounds[2]["kept_precision"]) == pytest.approx(28 / 36)
    changes = [tuple(row[name] for name in ("added", "dropped", "changed")) for row in rounds]
    assert changes == [("", "", ""), ("", "", ""), ("0", "0", "4")]  # the next 4 are wrong, too
    assert {row["line"] for row in rows(out / "curves.csv")} == {"teacher", "baseline", "student 1", "student 2"}
    assert {"round 1 before calibration", "round 1 after calibration"} <= {
        row["line"] for row in rows(out / "reliability.csv")
    }


def test_equal_inputs_give_equal_bytes(run, tmp_path):
    work, params, out = run
    assert contents(report(work, params=params, out=tmp_path / "again")) == contents(out)


def test_page_asks_nothing_of_the_network(run):
    html = (run[2] / "report.html").read_text()
    assert "http" not in html
    assert "//" not in re.sub(r"data:image/\w+;base64,[\w+/=]*", "", html)  # nor //host/path
    assert not re.search(r"@import|<script|<link|<iframe", html)
    assert len(html) < 3_000_000
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert sources
    assert all(source.startswith(("#", "data:image/png;base64")) for source in sources)


def test_names_of_classes_cannot_break_the_page(run):
    html = (run[2] / "report.html").read_text()
    assert "<sky>" not in html
    assert "blue &lt;sky&gt;" in html
    charts = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert ">red $5$</text>" in charts  # not read as a formula
    assert ">blue &lt;sky&gt;</text>" in charts
    assert "broken &lt;b&gt;.png" in html


def test_page_tells_every_part_of_the_story(run):
    html = (run[2] / "report.html").read_text()
    for part in ("lines", "rounds", "classes", "calibration", "labels", "guard", "judge", "data", "settings"):
        assert f'<section id="{part}">' in html
    for strip in (
        "Surest",
        "At the threshold",
        "Rejected",
        "Kept by mistake",
        "Student disagrees",
        "Changed its label",
    ):
        assert f"<b>{strip}</b>" in html
    assert "The candidate is proven better: student of round 2" in html
    said = "0 labels were added, 0 labels were dropped, 4 labels were given another class (0.0 % right now)."
    assert f"Since the round before {said}" in " ".join(html.replace("\N{NO-BREAK SPACE}", " ").split())
    assert "In <b>2 of 3</b> classes the labels meet the target precision" in html
    assert html.count("<svg") == 8  # rounds, recall, two of each round, test reliability, losses
    assert "keeps none" in html  # the class without a threshold
    assert "AdaMatch" in html or "FixMatch" in html  # settings name the method


def test_gallery_holds_no_more_than_asked_for(run, monkeypatch):
    monkeypatch.setattr("tasks.page.svg", lambda figure, title: "<svg></svg>")
    work, params, _ = run
    story = read_story(work, params)
    few = page(story, work, replace(params, report=replace(params.report, gallery=2)))
    none = page(story, work, replace(params, report=replace(params.report, gallery=0)))
    assert none.count("<figure") == 0
    strips = re.findall(r'<div class="shots">(.*?)</div>', few, flags=re.DOTALL)
    assert strips
    assert all(strip.count("<figure") <= 2 for strip in strips)


def test_without_oracle_and_truth(tmp_path):
    html, numbers, summary = made(tmp_path, oracle=False, truth=False)
    assert "oracle" not in numbers
    assert "| all-labels oracle | - | - | the pool has no hidden labels | - |" in summary
    assert "the pool has no hidden labels: no ceiling is known" in html
    assert "true labels are not known" in html
    assert "Kept by mistake" not in html


def test_an_empty_pool_is_told_and_not_drawn(tmp_path):
    html, numbers, summary = made(tmp_path, pool=False, truth=False, oracle=False, rounds=1)
    assert "No image was labelled: the pool is empty" in html
    assert "<figure" not in html
    assert not numbers["promoted"]
    assert "the first teacher (no student was accepted)" in summary


def test_without_a_holdout_no_calibration_error_is_told(tmp_path):
    work, params = make_work(tmp_path, rounds=1, errors=(30, 10))
    path = work / "rounds/1/calibration/calibration.json"
    bare = {"reliability_before": [], "reliability_after": [], "ece_before": 0.0, "ece_after": 0.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | bare))
    html = page_of(work, params)
    assert "no image was held out, so the error is not known" in html
    assert "error 0.000" not in html


def test_images_that_no_student_saw_are_told(tmp_path):
    work, params = make_work(tmp_path, rounds=1, errors=(30, 10))
    path = work / "rounds/1/calibration/calibration.json"
    border = {"keep": 0.95, "limit": 4.0, "holdout": 9, "expected_share": 0.1}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"out_of_distribution": border}))
    html = page_of(work, params)
    said = "<b>0</b> are out of distribution, farther from all labelled images than 95.0 % of images of the classes are"
    assert f"{said}: the student did not see them. In <b>" in " ".join(html.split())


def test_stopped_rounds_pass_the_last_good_model_on(tmp_path):
    html, _, summary = made(tmp_path, rounds=3, errors=(30, 40, 41, 42), good=(False, False, False))
    found = rows(tmp_path / "reports" / "rounds.csv")
    assert [row["model"] for row in found] == ["teacher", "student", "student", "passed on"]
    assert [row["verdict"] for row in found] == ["", "weaken", "stop", "stop"]
    assert "the first teacher (no student was accepted)" in summary
    assert "student refused" in html
    assert '<span class="pill bad">stop</span>' in html
    assert "the guard stopped the rounds" in html


def test_a_losing_run_says_that_the_supervised_model_is_kept(tmp_path):
    html, numbers, summary = made(tmp_path, errors=(30, 28, 29), baseline_errors=10)
    assert (numbers["promoted"], numbers["winner"]) == (False, "baseline")
    assert "The supervised-only model is kept" in html
    assert "more errors</b>" in html
    assert "student of round 2 (not promoted)" in summary
    assert "\n- Not promoted: the candidate's error is 190.0 % higher" in summary
    assert "\n- So the supervised baseline is kept.\n- Unequal training: baseline.steps is 1,700" in summary


def test_labels_that_came_and_went_since_the_round_before():
    before = pa.table(
        {"id": list("abcdef"), "label": [0, 0, 1, 1, 0, 1], "kept": [True, True, True, False, False, True]}
    )
    now = pa.table({"id": list("abcdef"), "label": [0, 1, 1, 1, 0, 0], "kept": [True, True, False, True, False, True]})
    found = changes_of(before, now, {"b": 1, "c": 0, "f": 1})  # d is not known
    assert (found.added, found.dropped, found.changed) == (Some(1, None), Some(1, 0.0), Some(2, 0.5))
    assert changes_of(before, before, {}) == Changes(*[Some(0, None)] * 3)


def test_precision_counts_kept_labels_whose_truth_is_known():
    labels = pa.table(
        {"id": list("abcdef"), "label": [0, 0, 0, 1, 1, 0], "kept": [True, True, True, True, False, False]}
    )
    rules = [{"name": "zero"}, {"name": "one"}, {"name": "two"}]
    zero, one, two = count_labels(labels, rules, {"a": 0, "b": 1, "d": 1, "e": 1, "f": 0})  # c is not known
    assert (zero.predicted, zero.kept, zero.checked, zero.right, zero.precision) == (4, 3, 2, 1, 0.5)
    assert (one.predicted, one.kept, one.precision) == (2, 1, 1.0)
    assert (two.predicted, two.precision) == (0, None)


def test_classes_take_turns_in_a_strip():
    label, key = np.array([0, 0, 0, 1, 2]), np.array([0.1, 0.2, 0.3, 0.9, 0.5])
    assert label[_of_each_class(np.ones(5, bool), label, key)].tolist() == [0, 2, 1, 0, 0]
    assert _of_each_class(label == 0, label, key).tolist() == [0, 1, 2]


def test_the_edge_is_where_a_class_ends_to_be_kept():
    label = np.array([0, 0, 0, 0, 1, 1, 2])
    score = np.array([0.99, 0.81, 0.79, 0.3, 0.95, 0.9, 0.5])
    kept = np.array([True, True, False, False, True, False, False])
    # Class 2 has no kept label, so no threshold is seen.
    assert _edge(label, score, kept, ~kept, 4).tolist() == [1, 4, 2, 5]
    assert _edge(label, score, kept, ~kept, 1).tolist() == [1]


def test_parts_that_do_not_belong_together_are_no_story(tmp_path):
    work, params = make_work(tmp_path, rounds=1)
    (work / "rounds/1/labels/manifest.json").rename(tmp_path / "manifest.json")
    with pytest.raises(BadInput, match=r"rounds/1/labels has no manifest.json"):
        report(work, params=params, out=tmp_path / "reports")
    (tmp_path / "manifest.json").rename(work / "rounds/1/labels/manifest.json")
    shutil.copytree(work / "evaluation/oracle", work / "evaluation/candidate", dirs_exist_ok=True)
    with pytest.raises(BadInput, match=r"evaluation/candidate tested another model .*dvc repro report"):
        report(work, params=params, out=tmp_path / "reports")
