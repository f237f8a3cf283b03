"""What adaptation of pixels or boxes was worth. Only this and the oracle read labels of the target."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.adapt_scenes import as_scenes, truth_of
from tasks.fair import uneven_scenes
from tasks.io import whole, write_json
from tasks.multi_evaluate import SCORES, decided, measure
from tasks.multi_label import say
from tasks.multi_truth import Truth
from tasks.params import Params
from tasks.text import percent
from tasks.text import table as markdown
from tasks.training import rows_of
from tutelage.data.manifest import read_split
from tutelage.models.multi_files import load_multi
from tutelage.types import BadInput, Task

COLUMNS: dict[Task, dict[str, str]] = {
    "segmentation": {"miou": "mIoU", "boundary_f": "boundary F"},
    "detection": {"ap": "AP", "ap50": "AP50"},
}


def adapt_scenes_report(split: Path, networks: Path, *, params: Params, out: Path) -> Path:
    """Source, baseline, oracle and each of candidates/ in NETWORKS on the target's test -> summary.json, summary.md.

    mIoU over the classes and background, or AP of boxes, and the share of the gap between baseline and oracle that
    each candidate closes; null where there is no oracle, or no gap.
    """
    table, known, wanted = read_split(split), as_scenes(params), params.adapt_scenes
    truth, rows = truth_of(split, table, known), rows_of(table, "test")
    folders = {name: networks / name for name in ("source", "baseline", "oracle")}
    lines, ways = (
        {
            name: _measured(folder, table, truth, rows, known)
            for name, folder in each.items()
            if not (folder / "unavailable.json").exists()
        }
        for each in (folders, {name: networks / "candidates" / name for name in wanted.candidates})
    )
    (task,) = wanted.network.tasks
    content = summary(lines, ways, wanted.adapted, score=SCORES[task]) | {"images": len(rows)}
    with whole(out) as folder:
        write_json(folder / "summary.json", content)
        (folder / "summary.md").write_text(_markdown(content, task, uneven_scenes(wanted, lines)))
    return out


def summary(
    lines: dict[str, dict[str, Any]], candidates: dict[str, dict[str, Any]], adapted: str, *, score: str
) -> dict[str, Any]:
    """The lines in order, and a row a candidate. The gap is that of `score` between baseline and oracle."""
    low, high = lines["baseline"][score], lines["oracle"][score] if "oracle" in lines else None
    return {
        "adapted": adapted,
        "lines": {
            "source": lines["source"], "baseline": lines["baseline"], "adapted": candidates[adapted],
            "oracle": lines.get("oracle"),
        },
        "gap": None if high is None else high - low,
        "closed": {name: closed(measured[score], low, high) for name, measured in candidates.items()},
        "candidates": candidates,
    }  # fmt: skip


def closed(score: float, low: float, high: float | None) -> float | None:
    """Share of the way from `low` to `high`; below 0 where it went the other way."""
    return None if high is None or high <= low else (score - low) / (high - low)


def _measured(folder: Path, table: pa.Table, truth: Truth, rows: np.ndarray, params: Params) -> dict[str, Any]:
    net, card = load_multi(folder / "model.safetensors")
    wanted = params.multitask.network.tasks
    if (net.tasks, card.image_size) != (wanted, truth.size):
        raise BadInput(
            f"{folder} answers {net.tasks} at {card.image_size} pixels, adapt_scenes.network {wanted} at {truth.size}. "
            "Train it again"
        )
    said = decided(say(table, [rows], (net, card), params, params.multitask.evaluate.batch))
    (task,) = net.tasks
    return measure(task, truth, rows, said, card.classes, params.multitask.evaluate)


def _markdown(content: dict[str, Any], task: Task, uneven: list[str]) -> str:
    columns = COLUMNS[task]
    lines = [
        [_title(name, content["adapted"]), *_cells(measured, columns)]
        for name, measured in content["lines"].items()
        if measured
    ]
    rows = [
        [name, *_cells(measured, columns), percent(content["closed"][name])]
        for name, measured in sorted(content["candidates"].items(), key=lambda item: -item[1][SCORES[task]])
    ]
    gap = content["gap"]
    said = "The target has no hidden labels, so there is no oracle and no gap." if gap is None else (
        f"The gap is {100 * gap:.1f} points, of which `{content['adapted']}` closes "
        f"{percent(content['closed'][content['adapted']])}."
    )  # fmt: skip
    parts = [
        f"# {'Pixels' if task == 'segmentation' else 'Boxes'} of another domain",
        f"{content['images']:,} test images of the target.",
        markdown(["network", *columns.values()], lines),
        said,
        *(f"{line}." for line in uneven),
        "## Ways to adapt",
        markdown(["way", *columns.values(), "of the gap"], rows),
    ]
    return "\n\n".join(parts) + "\n"


def _title(line: str, adapted: str) -> str:
    return {
        "source": "source alone, which candidates begin with", "baseline": "source alone, longer: the fair baseline",
        "adapted": f"adapted ({adapted})", "oracle": "oracle, taught the target",
    }[line]  # fmt: skip


def _cells(measured: dict[str, Any], columns: Iterable[str]) -> list[str]:
    return [percent(measured[name]) for name in columns]
