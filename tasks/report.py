"""The report of a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.io import whole, write_csv, write_json
from tasks.page import page
from tasks.params import Params
from tasks.story import Line, Story, curve_rows, read_story
from tasks.text import bullets, percent, table


def report(work: Path, *, params: Params, out: Path) -> Path:
    """All of `work` -> report.html (one file that works offline), summary.json, summary.md, and three CSV for plots.

    The three lines are the supervised-only baseline, the model that the rounds ended with, and the all-labels oracle.
    """
    story = read_story(work, params)
    html, text = page(story, work, params), summary(story)
    with whole(out) as folder:
        (folder / "report.html").write_text(html)
        (folder / "summary.md").write_text(text)
        write_json(folder / "summary.json", numbers(story))
        write_csv(folder / "rounds.csv", _rounds(story))
        write_csv(folder / "reliability.csv", _reliability(story))
        write_csv(folder / "curves.csv", curve_rows(story.curves))
    print(f"{text}\nThe whole story: {out / 'report.html'}")
    return out


def summary(story: Story) -> str:
    """summary.md: the three lines, the gain and the verdict."""
    rows = [
        [
            line.title, percent(line.metrics["accuracy"], 2), percent(line.metrics["error"], 2),
            f"{percent(line.error.low, 2)} to {percent(line.error.high, 2)}", f"{line.metrics['ece']:.3f}",
        ]
        for line in story.lines
    ]  # fmt: skip
    if story.oracle is None:
        rows.append(["all-labels oracle", "-", "-", story.without_oracle, "-"])
    gain = story.verdict["gain"]
    parts = [
        table(["model", "accuracy", "error", "95 % interval of the error", "calibration error"], rows),
        f"Relative error reduction against supervised only: **{percent(gain['error_reduction'])}** (95 % interval "
        f"{percent(gain['low'])} to {percent(gain['high'])}; {len(story.baseline.answers.ids):,} test images)",
        "\n".join(bullets([*story.verdict["reasons"], *story.uneven])),
    ]
    return "\n\n".join(parts) + "\n"


def numbers(story: Story) -> dict[str, Any]:
    """summary.json: what `dvc metrics` compares between runs."""
    lines = {"teacher": story.teacher, "baseline": story.baseline, "candidate": story.candidate}
    lines |= {"oracle": story.oracle} if story.oracle else {}
    return {
        **{name: _line(line) for name, line in lines.items()},
        "rounds": {str(record.number): _line(record.student) for record in story.rounds},
        "gain": story.verdict["gain"],
        "promoted": story.verdict["promote"],
        "winner": story.verdict["winner"],
    }


def _line(line: Line) -> dict[str, float]:
    return {
        "accuracy": line.metrics["accuracy"],
        "error": line.metrics["error"],
        "error_low": line.error.low,
        "error_high": line.error.high,
        "ece": line.metrics["ece"],
        "nll": line.metrics["nll"],
    }


def _rounds(story: Story) -> Iterator[dict[str, Any]]:
    levels = {
        "baseline_error": story.baseline.metrics["error"],
        "oracle_error": story.oracle.metrics["error"] if story.oracle else None,
    }
    changed = {"added": None, "dropped": None, "changed": None}
    nothing = {"pool_kept": None, "kept_precision": None, **changed, "verdict": ""}
    yield {"round": 0, "model": "teacher", **_line(story.teacher), **levels, **nothing}
    for record in story.rounds:
        yield {
            "round": record.number,
            "model": "passed on" if record.passed else "student",
            **_line(record.student),
            **levels,
            "pool_kept": record.kept,
            "kept_precision": record.precision,
            **({name: getattr(record.changes, name).number for name in changed} if record.changes else changed),
            "verdict": record.guard["verdict"],
        }


def _reliability(story: Story) -> Iterator[dict[str, Any]]:
    for record in story.rounds:
        for when in ("before", "after"):
            for place in record.calibration[f"reliability_{when}"]:
                yield {"line": f"round {record.number} {when} calibration", **place}
    for line in story.lines:
        for place in line.metrics["reliability"]:
            yield {"line": f"{line.title} on the test split", **place}
