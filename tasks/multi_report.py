"""The report of several tasks at once."""

from pathlib import Path
from typing import Any

import torch

from tasks.io import read_json, whole, write_json
from tasks.latency import per_call
from tasks.multi_evaluate import SCORES
from tasks.multi_lines import Line, lines_of, notes
from tasks.multi_page import multi_page
from tasks.multi_scenes import read_scenes
from tasks.params import Params
from tasks.text import table as markdown
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.models.multi import MultiNet
from tutelage.models.multi_files import load_multi
from tutelage.train.device import accelerator
from tutelage.types import Task

BATCH = 8  # images that all networks are timed on


def multi_report(split: Path, shares: Path, work: Path, *, params: Params, out: Path) -> Path:
    """Specialists, union, student, their tests and the pseudo-labels (`work`) -> report.html (one file, works offline),
    summary.md, summary.json.

    A normalised score is a share of the score of the task's own specialist, so that specialists have 1. How long the
    networks take, by turns, is printed and in no file: a clock does not say the same twice.
    """
    tasks = params.multitask.tasks
    metrics = {name: read_json(work / "evaluation" / name / "metrics.json") for name in (*tasks, "union", "student")}
    folders = {name: work / ("teachers" if name in tasks else "") / name for name in metrics}
    nets = {name: load_multi(folder / "model.safetensors")[0] for name, folder in folders.items()}
    lines = lines_of(metrics, tasks)
    with whole(out) as folder:
        (folder / "report.html").write_text(
            multi_page(lines, metrics, read_scenes(split, shares, work, params), params)
        )
        (folder / "summary.md").write_text(_summary(lines, tasks, notes(metrics, params.multitask)))
        write_json(folder / "summary.json", {name: _numbers(line) for name, line in lines.items()})
    took = ", ".join(f"{name} {each:.2f}" for name, each in times(nets, tasks, split, params).items())
    print(f"time to answer, in times of the specialists together: {took}", flush=True)
    return out


def times(nets: dict[str, MultiNet], tasks: list[Task], split: Path, params: Params) -> dict[str, float]:
    """How long union and student take for the same test images, in times of all specialists together."""
    table, engine = read_split(split), accelerator(params.compute)
    size = params.multitask.network.detector.image_size
    pixels = Images.open(table, size, cache_bytes=0, letterbox=True).many(rows_of(table, "test")[:BATCH])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(engine.device).float().div_(255)
    groups = [[nets[task] for task in tasks], [nets["union"]], [nets["student"]]]

    def ask(group: list[MultiNet]) -> None:
        for net in group:
            net.answers(images)
        if engine.device.type == "cuda":
            torch.cuda.synchronize()

    for net in nets.values():
        net.to(engine.device)
    with torch.inference_mode(), engine.autocast():
        together, *seconds = per_call([lambda group=group: ask(group) for group in groups])  # type: ignore[misc]
    return {name: each / together for name, each in zip(("union", "student"), seconds, strict=True)}


def _numbers(line: Line) -> dict[str, Any]:
    """What `dvc metrics` compares between runs."""
    return {
        "scores": line.scores,
        "normalised": line.mean,
        "parameters": line.parameters,
        "operations": line.operations,
    }


def _summary(lines: dict[str, Line], tasks: list[Task], told: list[str]) -> str:
    heads = [
        "network", *(f"{task}: {SCORES[task]}" for task in tasks), "mean normalised score", "parameters",
        "operations, million",
    ]  # fmt: skip
    means = {name: "-" if line.mean is None else f"{line.mean:.3f}" for name, line in lines.items()}
    rows = [
        [
            line.title, *(f"{line.scores[task]:.3f}" for task in tasks), means[name], f"{line.parameters:,}",
            f"{line.operations / 1e6:,.1f}",
        ]
        for name, line in lines.items()
    ]  # fmt: skip
    return (
        f"{markdown(heads, rows)}\n\nNormalised: in shares of the task's own specialist. Operations: of one answer.\n"
        + "".join(f"\n{note}\n" for note in told)
    )
