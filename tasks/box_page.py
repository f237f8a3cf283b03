"""box_report.html: what a story of detection looks like."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from tasks.box_charts import DETECTORS, errors_chart, precision_recall_chart
from tasks.box_pictures import COLOURS, strips
from tasks.box_story import BoxRecord, BoxStory
from tasks.charts import curves_chart
from tasks.gallery import Strip
from tasks.page import drawn, rendered, written
from tasks.params import Params
from tutelage.metrics.detection_errors import ERRORS

SIDE = 3.1  # inches of a curve: two lie side by side
# Sections of params.yaml that decide what a run finds. The others, as threads, only decide how fast.
TOLD = (
    *("split", "network", "views", "optimiser", "teacher", "baseline", "oracle", "student", "calibrate", "label"),
    *("names", "evaluate", "guard", "judge"),
)


@dataclass(frozen=True)
class BoxView:
    """A round as the page shows it."""

    record: BoxRecord
    strips: list[Strip]


def box_views(story: BoxStory, number: int) -> list[BoxView]:
    """The rounds, with at most `number` pictures of a kind each."""
    return [BoxView(one, strips(story.pool, one.store, one.opinions, number)) for one in story.rounds]


def box_page(story: BoxStory, views: list[BoxView], params: Params) -> str:
    """One HTML file without a single address in it: pictures and style are inside."""
    lines = list(story.lines.values())
    means = {line.title: np.mean(list(line.curves.values()), axis=0) for line in lines if line.curves}
    return rendered(
        "box_report.html",
        story=story,
        verdict=story.verdict,
        lines=lines,
        baseline=story.lines["baseline"],
        candidate=story.lines["candidate"],
        way=_way(story),
        lines_chart=drawn(
            precision_recall_chart(means, side=SIDE, colours=DETECTORS), "Precision over recall, mean of the classes"
        ),
        classes_chart=drawn(
            precision_recall_chart(story.lines["candidate"].curves, side=SIDE), "Precision over recall of each class"
        ),
        errors_chart=_errors(story),
        kinds=ERRORS,
        rounds=views,
        colours=COLOURS,
        curves_chart=drawn(curves_chart(story.curves), "Training loss") if story.curves else None,
        hidden_truth=bool(story.pool.truth),
        settings=written(params.detection, TOLD),
    )


def _errors(story: BoxStory) -> Markup:
    counts = {line.title: line.metrics["errors"] for line in story.lines.values()}
    prices = {line.title: line.costs for line in story.lines.values()}
    return drawn(errors_chart(ERRORS, counts, prices), "Errors by kind")


def _way(story: BoxStory) -> float | None:
    """How much of the distance from the baseline to the oracle the candidate went; None where that means nothing."""
    if "oracle" not in story.lines:
        return None
    start, here, end = (story.lines[name].ap.estimate for name in ("baseline", "candidate", "oracle"))
    return (here - start) / (end - start) if start < here <= end else None
