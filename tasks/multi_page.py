"""multi_report.html: what several tasks at once look like."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.multi_lines import Line, notes
from tasks.multi_scenes import Scene
from tasks.page import rendered, written
from tasks.params import Params

TOLD = ("tasks", "network", "views", "optimiser", "teacher", "union", "student", "label", "evaluate")


def multi_page(lines: Mapping[str, Line], metrics: Mapping[str, Any], scenes: Sequence[Scene], params: Params) -> str:
    """One HTML file without a single address in it: pictures and style are inside."""
    return rendered(
        "multi_report.html",
        lines=list(lines.values()),
        student=lines["student"],
        union=lines["union"],
        tasks=params.multitask.tasks,
        hears=params.multitask.hears,
        notes=notes(metrics, params.multitask),
        measures=_measures(metrics, params),
        images=metrics["student"]["images"],
        scenes=scenes,
        settings=written(params.multitask, TOLD),
    )


def _measures(metrics: Mapping[str, Any], params: Params) -> list[tuple[str, str, list[float]]]:
    """Task, measure, and what its specialist, the union and the student have."""
    found: list[tuple[str, str, list[float]]] = []
    for task in params.multitask.tasks:
        three = [metrics[name]["tasks"][task] for name in (task, "union", "student")]
        found += [(task, name, [each[name] for each in three]) for name in three[0] if name != "iou"]
    return found
