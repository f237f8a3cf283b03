"""The charts of reports. Numbers in, a figure out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from tasks.pictures import STYLE
from tasks.text import percent

GREY, BLUE, GREEN, ORANGE, RED, INK = "#64748b", "#2563eb", "#0d9488", "#d97706", "#dc2626", "#0f172a"
_NUMBERED = 12  # classes whose counts fit into the cells of a confusion matrix
WIDE = 9.9  # inches, a page
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in our style without changing matplotlib's for anyone else."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inner


@dataclass(frozen=True)
class Point:
    """A model's test error at a round, with the ends of its interval."""

    round: int
    error: float
    low: float
    high: float
    accepted: bool = True


@dataclass(frozen=True)
class Gained:
    """What a method gains in accuracy, with the ends of its interval, and the cost of its step in plain ones."""

    name: str
    gain: float
    low: float
    high: float
    cost: float


@styled
def reliability_chart(lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Accuracy over confidence, one line a name. A calibrated classifier lies on the diagonal."""
    figure, axes = _axes(3.0, 3.0)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    for (name, bins), colour in zip(lines.items(), (BLUE, ORANGE, GREEN), strict=False):
        seen = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
        total = sum(b["count"] for b in bins)
        axes.plot(*seen, color=colour, linewidth=1.4, label=name)
        axes.scatter(*seen, s=[12 + 120 * b["count"] / total for b in bins], color=colour, alpha=0.75, linewidths=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
    _percent(axes.xaxis)
    _percent(axes.yaxis)
    if len(lines) > 1:
        axes.legend(loc="upper left")
    return figure


@styled
def confusion_chart(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Truth in rows, answers in columns, each row shaded by its shares."""
    figure, axes = _axes(4.4, 4.4)
    axes.grid(False)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    every = range(0, len(names), 1 + len(names) // 30)
    axes.set_xticks(every, [names[i] for i in every], rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.set_yticks(every, [names[i] for i in every], fontsize=7)
    axes.set(xlabel="answer", ylabel="truth")
    if len(names) <= _NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else INK if matrix[row, column] else "#cbd5e1"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=7, color=colour)
    return figure


@styled
def rounds_chart(points: Sequence[Point], baseline: float | None, oracle: float | None) -> Figure:
    """Test error from the teacher (round 0) over the students, between the lines that it is compared with."""
    figure, axes = _axes(WIDE, 3.0)
    for name, level, colour in (("supervised only", baseline, GREY), ("all labels (oracle)", oracle, GREEN)):
        if level is not None:
            axes.axhline(level, color=colour, linewidth=1.4, linestyle=(0, (5, 3)))
            axes.annotate(
                f"{name} {percent(level)}", (1, level), (-2, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", color=colour, fontsize=8,
            )  # fmt: skip
    axes.plot([p.round for p in points], [p.error for p in points], color=BLUE, linewidth=1.6)
    for p in points:
        axes.plot([p.round, p.round], [p.low, p.high], color=BLUE, linewidth=1, alpha=0.6)
        axes.plot(p.round, p.error, "o", color=BLUE, markerfacecolor=BLUE if p.accepted else "white", markersize=6)
        axes.annotate(percent(p.error), (p.round, p.error), (7, 5), textcoords="offset points", fontsize=8, color=BLUE)
    last = max(p.round for p in points)
    axes.set_xticks(range(last + 1), ["teacher", *(f"round {n}" for n in range(1, last + 1))])
    axes.set(xlim=(-0.25, last + 0.75), ylabel="test error")
    axes.margins(y=0.18)
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    _percent(axes.yaxis)
    return figure


@styled
def labels_chart(
    names: Sequence[str], precision: Sequence[float | None], kept: Sequence[int], rejected: Sequence[int], target: float
) -> Figure:
    """Left: precision of each class's kept pseudo-labels against the target. Right: how many were kept and rejected."""
    figure, (left, right) = _row(WIDE, 0.9 + 0.27 * len(names))
    places = np.arange(len(names))
    known = [i for i, value in enumerate(precision) if value is not None]
    colours = [GREEN if (precision[i] or 0) >= target else RED for i in known]
    left.axvline(target, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    left.hlines(known, target, [precision[i] or 0 for i in known], color=colours, linewidth=1.6)
    left.scatter([precision[i] or 0 for i in known], known, color=colours, s=28, zorder=3)
    lowest = min([precision[i] or 0 for i in known] + [target])
    left.set(xlim=(max(0, lowest - 0.05), 1.005), xlabel=f"precision of kept labels (target {percent(target, 0)})")
    _percent(left.xaxis)
    right.barh(places, kept, color=BLUE, height=0.62, label="kept")
    right.barh(places, rejected, left=kept, color="#cbd5e1", height=0.62, label="rejected")
    right.set(xlabel="pool images")
    right.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    left.set_yticks(places, names)
    left.set_ylim(len(names) - 0.4, -0.6)
    left.tick_params(length=0)
    return figure


@styled
def recall_chart(names: Sequence[str], before: Sequence[float | None], after: Sequence[float | None]) -> Figure:
    """Recall a class: from the baseline (grey) to the candidate (green where it gained, red where it lost)."""
    figure, axes = _axes(WIDE, 0.8 + 0.27 * len(names))
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if old is None or new is None:
            continue
        colour = GREEN if new >= old else RED
        axes.plot([old, new], [place, place], color=colour, linewidth=2, alpha=0.6)
        axes.plot(old, place, "o", color=GREY, markersize=5)
        axes.plot(new, place, "o", color=colour, markersize=6)
        axes.annotate(
            f"{100 * (new - old):+.1f}", (max(old, new), place), (6, -3), textcoords="offset points", fontsize=8
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set(xlabel="recall on the test split: baseline (grey) to candidate")
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.09)
    _percent(axes.xaxis)
    return figure


@styled
def gains_chart(rows: Sequence[Gained]) -> Figure:
    """Left: gain in points, green where its interval is above zero, red where below. Right: what a step costs."""
    figure, (left, right) = _row(WIDE, 1.0 + 0.24 * max(len(rows), 1))
    for place, one in enumerate(rows):
        colour = GREEN if one.low > 0 else RED if one.high < 0 else GREY
        left.plot([100 * one.low, 100 * one.high], [place, place], color=colour, linewidth=2, alpha=0.6)
        left.plot(100 * one.gain, place, "o", color=colour, markersize=5)
    left.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    left.set(xlabel="gain of accuracy on plain training, points")
    right.barh(range(len(rows)), [one.cost for one in rows], color=BLUE, height=0.5)
    right.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    right.set(xlabel="time of a step, times plain training's")
    left.set_yticks(range(len(rows)), [one.name for one in rows])
    left.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    left.tick_params(length=0)
    return figure


@styled
def curves_chart(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """Training loss over steps, one line a run. Losses of different methods are different sums."""
    figure, axes = _axes(WIDE, 2.6)
    for name, (steps, loss) in curves.items():
        axes.plot(steps, loss, linewidth=1.2, label=name)
    axes.set(xlabel="step", ylabel="training loss", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots()


def _row(width: float, height: float) -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure((width, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    return figure, (left, right)


def _percent(axis: Any) -> None:
    axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
