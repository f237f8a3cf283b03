"""report.html: what a story looks like."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from tasks.charts import Point, curves_chart, labels_chart, recall_chart, reliability_chart, rounds_chart
from tasks.gallery import Pool, Strip, strips
from tasks.io import read_json
from tasks.params import Params
from tasks.pictures import svg, thumbnail
from tasks.story import ClassLabels, RoundRecord, Story
from tasks.text import change, percent, points
from tutelage.data.manifest import classes_of, read_split, read_truth

MANY = 30  # classes that a chart or table can hold; of more, the worst are shown
# Sections of params.yaml that decide what a run finds. The others, as threads, only decide how fast.
TOLD = (
    *("seed", "split", "network", "views", "optimiser", "teacher", "baseline", "oracle", "student", "calibrate"),
    *("pseudo_label", "guard", "judge"),
)


@dataclass(frozen=True)
class RoundView:
    """A round as the page shows it."""

    record: RoundRecord
    calibration: Markup  # chart
    labels: Markup | None  # chart
    shown: list[ClassLabels]
    strips: list[Strip]


def page(story: Story, work: Path, params: Params) -> str:
    """One HTML file without a single address in it: pictures and style are inside."""
    split = read_split(work / "split")
    truth, classes = read_truth(work / "split"), classes_of(split)
    pool = Pool.of(split, truth, classes)
    before: list[RoundRecord | None] = [None, *story.rounds]
    rounds = [
        _round(record, last, pool, params.report.gallery) for record, last in zip(story.rounds, before, strict=False)
    ]
    return rendered(
        "report.html",
        story=story,
        verdict=story.verdict,
        way=_way(story),
        rounds=rounds,
        rounds_chart=drawn(_rounds(story), "Test error by round"),
        recall_chart=drawn(_recall(story), "Recall of each class, baseline to candidate"),
        test_reliability=drawn(
            reliability_chart(
                {
                    "supervised only": story.baseline.metrics["reliability"],
                    "candidate": story.candidate.metrics["reliability"],
                }
            ),
            "Reliability on the test split",
        ),
        curves_chart=drawn(curves_chart(story.curves), "Training loss") if story.curves else None,
        classes=classes,
        many=MANY,
        confusion=_confusion(story, classes),
        mistakes=_mistakes(story, classes),
        ingested=read_json(work / "ingest" / "report.json"),
        doctor=read_json(work / "doctor" / "report.json"),
        hidden_truth=bool(truth),
        settings=written(params, TOLD),
    )


def rendered(template: str, **values: Any) -> str:
    """A template of this folder, in which nothing may be missing."""
    return _templates().get_template(template).render(**values).replace(" %", "\N{NO-BREAK SPACE}%")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "points": points, "change": change, "thumbnail": thumbnail}
    return environment


def drawn(figure: Figure, title: str) -> Markup:
    """A chart to put into a template."""
    return Markup(svg(figure, title))  # matplotlib escapes the names it writes


def _round(record: RoundRecord, previous: RoundRecord | None, pool: Pool, number: int) -> RoundView:
    name = f"round {record.number}"
    bins = {f"{when} calibration": record.calibration[f"reliability_{when}"] for when in ("before", "after")}
    shown, labels = _weakest(record.classes), None
    if record.labels.num_rows:
        chart = labels_chart(
            [c.name for c in shown], [c.precision for c in shown], [c.kept for c in shown],
            [c.predicted - c.kept for c in shown], record.calibration["target_precision"],
        )  # fmt: skip
        labels = drawn(chart, f"Pseudo-labels of {name}")
    calibration = drawn(reliability_chart(bins), f"Reliability on the hold-out, {name}")
    before = previous.labels["label"].to_numpy() if previous else None
    found = strips(pool, record.labels, record.opinions, before, number) if record.labels.num_rows else []
    return RoundView(record, calibration, labels, shown, found)


def _weakest(classes: list[ClassLabels]) -> list[ClassLabels]:
    """Those of lowest precision, or of which the least is promised where no truth is known, in their order."""
    known = any(c.precision is not None for c in classes)

    def worth(one: ClassLabels) -> float:
        if not known:
            return float(one.rule["lower_bound"])
        return 2.0 if one.precision is None else one.precision

    weakest = sorted(classes, key=worth)[:MANY]
    return [c for c in classes if c in weakest]


def _rounds(story: Story) -> Figure:
    lines = [(0, story.teacher, True)]
    lines += [(r.number, r.student, r.guard["accepted"]) for r in story.rounds if not r.passed]
    points = [Point(n, line.error.estimate, line.error.low, line.error.high, fine) for n, line, fine in lines]
    return rounds_chart(points, story.baseline.error.estimate, story.oracle.error.estimate if story.oracle else None)


def _recall(story: Story) -> Figure:
    before, after = story.baseline.metrics["per_class"], story.candidate.metrics["per_class"]

    def change(name: str) -> float:
        old, new = before[name]["recall"], after[name]["recall"]
        return 0.0 if old is None or new is None else new - old

    worst = set(sorted(after, key=change)[:MANY])
    names = [name for name in after if name in worst]
    return recall_chart(names, [before[n]["recall"] for n in names], [after[n]["recall"] for n in names])


def _way(story: Story) -> float | None:
    """How much of the distance from the baseline to the oracle the candidate went; None where that means nothing."""
    if story.oracle is None:
        return None
    start, here, end = (line.error.estimate for line in (story.baseline, story.candidate, story.oracle))
    return (start - here) / (start - end) if end < start and here < start else None


def _confusion(story: Story, classes: list[str]) -> list[tuple[str, list[tuple[int, float]]]] | None:
    """Rows of (class, [(count, share of the row)]); None for more classes than a table can show."""
    if len(classes) > MANY:
        return None
    matrix = np.array(story.candidate.metrics["confusion"])
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = [list(zip(row.tolist(), share.tolist(), strict=True)) for row, share in zip(matrix, shares, strict=True)]
    return list(zip(classes, cells, strict=True))


def _mistakes(story: Story, classes: list[str], number: int = 8) -> list[dict[str, Any]]:
    """The most frequent confusions of the candidate, with the baseline's count."""
    new, old = (np.array(line.metrics["confusion"]) for line in (story.candidate, story.baseline))
    wrong = new * (1 - np.eye(len(classes), dtype=int))
    places = [divmod(int(i), len(classes)) for i in (-wrong.ravel()).argsort(kind="stable")[:number]]
    return [
        {"truth": classes[t], "answer": classes[a], "count": int(new[t, a]), "baseline": int(old[t, a])}
        for t, a in places
        if wrong[t, a]
    ]


def written(params: Any, names: Sequence[str]) -> list[tuple[str, str]]:
    """Sections of params.yaml as it would be written."""
    told = []
    for name in names:
        section = getattr(params, name)
        content = asdict(section) if is_dataclass(section) and not isinstance(section, type) else section
        if section is not None and name in ("teacher", "baseline", "oracle", "union", "student"):
            content["method"] = {"name": type(section.method).__name__, **content["method"]}
        told.append((name, json.dumps(content).replace('"', "")))
    return told
