"""Of more classes than a chart can hold a page shows the weakest."""

import re

import pytest
from small_work import CLASSES, make_work

import tasks.page as paging
from tasks.io import read_json, write_json
from tasks.page import page
from tasks.story import read_story


@pytest.mark.parametrize(("truth", "said"), [(True, "of lowest precision"), (False, "of which the least is promised")])
def test_of_many_classes_the_weakest_are_shown(tmp_path, monkeypatch, truth, said):
    monkeypatch.setattr(paging, "MANY", 2)
    work, params = make_work(tmp_path, truth=truth, oracle=truth, rounds=1)
    path = work / "rounds/1/calibration/calibration.json"
    rules = read_json(path)
    for rule, bound in zip(rules["classes"], (0.9, 0.8, 0.0), strict=True):
        rule["lower_bound"] = bound
    write_json(path, rules)
    story = read_story(work, params)
    html = page(story, work, params)
    assert f"Shown: the 2 classes {said}." in html
    table = html.partition("Thresholds and their evidence")[2].partition("</table>")[0]
    shown = [len(re.findall(f"<td>{name[:3]}", table)) for name in CLASSES]
    weakest = sorted(story.rounds[0].classes, key=lambda c: c.precision if truth else c.rule["lower_bound"])[:2]
    assert shown == [int(name in {c.name for c in weakest}) for name in CLASSES]
    assert truth or shown == [0, 1, 1]
