"""The report of a detection run."""

from pathlib import Path
from typing import Any

from tasks.box_page import box_page, box_views
from tasks.box_story import BoxStory, read_box_story
from tasks.gallery import sheet
from tasks.io import whole, write_csv, write_json
from tasks.params import Params
from tasks.story import curve_rows
from tasks.text import bullets, percent, points
from tasks.text import table as markdown

SIDE = 192  # pixels of a picture


def box_report(work: Path, *, params: Params, out: Path) -> Path:
    """All that a detection run wrote -> report.html (one file, works offline), summary.md, summary.json,
    curves.csv, gallery.md.

    The three lines are the supervised-only baseline, the detector that the rounds ended with, and the all-boxes oracle.
    """
    story = read_box_story(work, params, side=SIDE)
    views = box_views(story, params.detection.report.gallery)
    with whole(out) as folder:
        (folder / "report.html").write_text(box_page(story, views, params))
        write_json(folder / "summary.json", _numbers(story))
        write_csv(folder / "curves.csv", curve_rows(story.curves))
        (folder / "summary.md").write_text(_summary(story))
        (folder / "gallery.md").write_text("\n\n".join(["# Pseudo-boxes", *map(sheet, views[-1].strips)]) + "\n")
    return out


def _numbers(story: BoxStory) -> dict[str, Any]:
    """What `dvc metrics` compares between runs."""
    lines = {name: {key: line.metrics[key] for key in ("ap", "ap50")} for name, line in story.lines.items()}
    return lines | {"gain": story.verdict["gain"]["ap"]}


def _summary(story: BoxStory) -> str:
    rows = [
        [
            line.title, points(line.metrics["ap"]), f"{points(line.ap.low)} to {points(line.ap.high)}",
            points(line.metrics["ap50"]), points(line.metrics["ap75"]), points(line.ar),
            line.metrics["images"], line.metrics["objects"],
        ]
        for line in story.lines.values()
    ]  # fmt: skip
    last = story.rounds[-1]
    kept = [[one.name, one.kept, percent(one.precision)] for one in last.classes]
    heads = ["class", "pseudo-boxes kept", "on an object of their class (IoU 0.5)"]
    if last.detected is not None:
        heads.append("with the detector's own names")
        kept = [[*row, percent(one.precision)] for row, one in zip(kept, last.detected, strict=True)]
    parts = [
        markdown(["detector", "AP", "95 % interval", "AP50", "AP75", "AR", "test images", "objects"], rows),
        "\n".join(bullets([*story.verdict["reasons"], *story.uneven])),
        markdown(heads, kept),
    ]
    return "\n\n".join(parts) + "\n"
